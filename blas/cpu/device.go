// Package cpu is the blas.Device for processors: C kernels compiled for several instruction sets and chosen at run time, and
// oneDNN, opened at run time, for matrix products where it is the faster one.
//
// One locked thread runs all operations in order, each on a team of threads (team.h). Memory lies
// outside the Go heap, aligned to 64 bytes. For a given number of threads results are the same to the last bit.
//
// MVP_CPU=portable|avx2|avx512|avx512bf16 forces the kernels, MVP_GEMM=own|onednn the matrix products; MVP_ONEDNN names the library's
// file or folder, or is "off".
package cpu

/*
#cgo CFLAGS: -O3 -fopenmp-simd -pthread
#cgo narrow CFLAGS: -DMVP_NARROW -Wno-psabi
#cgo LDFLAGS: -pthread -lm
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "detect.h"
#include "kernels.h"

// allocate gives zeros; the large pages of a large allocation spare the processor most of its address translations.
static void *allocate(size_t n) {
	const size_t page = 2 << 20;
	void *p = aligned_alloc(n < page ? 64 : page, (n + 63) / 64 * 64 + 64);
	if (p && n >= page) madvise(p, n / page * page, MADV_HUGEPAGE);
	if (p) memset(p, 0, n);
	return p;
}
static kernel *kernel_of(kernel *const *table, int op) { return table[op]; }
static kernel *const *table(int level) {
	kernel *const *const all[] = {mvp_portable, mvp_avx2, mvp_avx512, mvp_avx512bf16};
	return all[level];
}
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"time"
	"unsafe"

	"mvptargets/blas"
)

// Options choose how a device runs.
type Options struct {
	Threads int // 0: one per processor that the affinity mask and the control group allow
}

// Device is a blas.Device on the processor.
type Device struct {
	threads         int
	paths           []string
	detail          string
	table           **C.kernel
	team            *C.team
	dnn             *oneDNN        // nil where no product needs it or the library is missing
	dnnBF16, dnnF32 bool           // which products go to it
	block           int            // bytes of an operand that stay in a core's cache
	room            unsafe.Pointer // scratch for products, the worker's
	roomFor         int            // bytes that it holds
	queue           chan func()
	done            chan struct{}
	live            map[*memory]struct{}
	err             error // first since the last Sync; the worker's
}

// memory is one allocation; p is nil where there was none to be had.
type memory struct {
	p    unsafe.Pointer
	name string
	size int
}

var _ blas.Device = (*Device)(nil)

// queued is how many operations may wait: more than a micro-batch has, so that issuing one takes no time.
const queued = 4096

// New starts a device.
func New(o Options) (*Device, error) {
	var noDNN error
	level, why, err := choosePath()
	if err != nil {
		return nil, err
	}
	d := &Device{threads: o.Threads, table: C.table(C.int(level)), block: blockBytes(), queue: make(chan func(), queued), done: make(chan struct{}),
		live: map[*memory]struct{}{}, paths: []string{paths[level]}}
	if d.dnnBF16, d.dnnF32, err = useDNN(); err != nil {
		return nil, err
	}
	if d.threads <= 0 {
		d.threads = allowedProcessors()
	}
	go d.compute()
	var omp *C.openmp
	if d.dnnBF16 || d.dnnF32 {
		d.wait(func() { d.dnn, noDNN = openDNN(d.threads) })
		if d.dnn != nil {
			omp, d.threads = d.dnn.omp, d.dnn.threads
		}
	}
	if d.team, err = C.team_new(C.int(d.threads), omp); d.team == nil {
		close(d.queue)
		return nil, fmt.Errorf("start %d threads: %w", d.threads, err)
	}
	d.detail = paths[level] + " kernels"
	if why != "" {
		d.detail += " (" + why + ")"
	}
	switch {
	case noDNN != nil:
		d.detail += fmt.Sprintf(", own matrix products because %v", noDNN)
	case d.dnn != nil:
		d.paths = append(d.paths, d.dnn.version)
		d.detail += fmt.Sprintf(", matrix products by %s (%s)", d.dnn.version, d.dnn.path)
		if !d.dnn.bf16 {
			d.detail += ", but bf16's own, as it has none for this processor"
		}
	default:
		d.detail += ", own matrix products"
	}
	return d, nil
}

// compute is the first thread of the team. It is never unlocked, so that threads that oneDNN has made end with it.
func (d *Device) compute() {
	runtime.LockOSThread()
	for f := range d.queue {
		f()
	}
	close(d.done)
}

// wait runs f after all that is queued and returns when it is done.
func (d *Device) wait(f func()) {
	c := make(chan struct{})
	d.queue <- func() { f(); close(c) }
	<-c
}

// fail keeps the first error. Worker only.
func (d *Device) fail(op string, err error) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %w", op, err)
	}
}

// Info implements blas.Device.
func (d *Device) Info() blas.Info {
	i := blas.Info{Name: "cpu", Detail: d.detail, Threads: d.threads, Compute: []blas.DType{blas.BF16, blas.F32}, Samples: 16, Paths: d.paths}
	for _, t := range i.Compute {
		if !d.library(t) {
			i.Skips = append(i.Skips, t)
		}
	}
	return i
}

func allocate(bytes int) unsafe.Pointer { return C.allocate(C.size_t(bytes)) }

// Alloc implements blas.Device.
func (d *Device) Alloc(name string, t blas.DType, shape ...int) blas.Tensor {
	n := t.Size()
	for _, s := range shape {
		n *= s
	}
	m := &memory{p: allocate(n), name: name, size: n}
	if m.p == nil {
		d.queue <- func() { d.fail("alloc "+name, fmt.Errorf("no memory for %d bytes", n)) }
	}
	d.live[m] = struct{}{}
	return blas.NewTensor(m, t, shape...)
}

// Free implements blas.Device. The memory goes back after the operations that are still queued.
func (d *Device) Free(t blas.Tensor) {
	m, ok := t.Mem().(*memory)
	if _, live := d.live[m]; !ok || !live {
		panic(fmt.Sprintf("blas/cpu: free of %v, which is not allocated here", t))
	}
	delete(d.live, m)
	d.queue <- func() { C.free(m.p) }
}

// Live implements blas.Device.
func (d *Device) Live() []blas.Allocation {
	var out []blas.Allocation
	for m := range d.live {
		out = append(out, blas.Allocation{Name: m.name, Bytes: m.size})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Upload implements blas.Device.
func (d *Device) Upload(dst blas.Tensor, src []byte) {
	if len(src) != dst.Bytes() {
		panic(fmt.Sprintf("blas/cpu: upload of %d bytes to %v", len(src), dst))
	}
	kept := slices.Clone(src) // so that the caller need not wait for what is queued
	d.queue <- func() {
		if p := address(dst); p != nil {
			copy(unsafe.Slice((*byte)(p), len(kept)), kept)
		}
	}
}

// Download implements blas.Device.
func (d *Device) Download(dst []byte, src blas.Tensor) error {
	if len(dst) != src.Bytes() {
		panic(fmt.Sprintf("blas/cpu: download of %v to %d bytes", src, len(dst)))
	}
	return d.Fetch(dst, src)()
}

// Fetch implements blas.Device.
func (d *Device) Fetch(dst []byte, src blas.Tensor) func() error {
	arrived := make(chan error, 1)
	d.queue <- func() {
		if p := address(src); p != nil {
			copy(dst, unsafe.Slice((*byte)(p), len(dst)))
		}
		arrived <- d.err
		d.err = nil
	}
	return func() error { return <-arrived }
}

// Sync implements blas.Device.
func (d *Device) Sync() (err error) {
	d.wait(func() { err, d.err = d.err, nil })
	return err
}

// Stamp implements profile.Stamper.
func (d *Device) Stamp(t *time.Time) { d.queue <- func() { *t = time.Now() } }

// Record implements blas.Device.
func (d *Device) Record(_ string, issue func()) blas.Program { return blas.Replay(issue) }

// Close implements blas.Device.
func (d *Device) Close() error {
	err := d.Sync()
	d.wait(func() {
		C.team_end(d.team)
		if d.dnn != nil {
			d.dnn.close()
		}
		C.free(d.room)
	})
	close(d.queue)
	<-d.done
	for m := range d.live {
		C.free(m.p)
	}
	clear(d.live)
	return err
}

// address is where a tensor's first element lies; nil for the zero Tensor and for memory that could not be had.
func address(t blas.Tensor) unsafe.Pointer {
	if !t.Ok() || t.Mem().(*memory).p == nil {
		return nil
	}
	return unsafe.Add(t.Mem().(*memory).p, t.Offset()*t.DType().Size())
}

var errMemory = errors.New("a tensor's memory could not be allocated")

// kernel queues one kernel: its tensors, integers and constants in the order that kernels.h's comments give.
func (d *Device) kernel(o blas.Op, k int, ts []blas.Tensor, n []int, f ...float64) {
	o.Check()
	d.queue <- func() { d.call(o.Name(), k, ts, n, f...) }
}

// call runs a kernel on the worker.
func (d *Device) call(name string, k int, ts []blas.Tensor, n []int, f ...float64) {
	var p [12]unsafe.Pointer
	var ints [12]C.int64_t
	var floats [8]C.double
	for i, t := range ts {
		if p[i] = address(t); t.Ok() && p[i] == nil {
			d.fail(name, errMemory)
			return
		}
	}
	for i, v := range n {
		ints[i] = C.int64_t(v)
	}
	for i, v := range f {
		floats[i] = C.double(v)
	}
	C.team_run(d.team, C.kernel_of(d.table, C.int(k)), &p[0], &ints[0], &floats[0])
}
