package cuda

// #include <stdlib.h>
// #include "api.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"unsafe"

	"mvptargets/blas"
)

// Device is a blas.Device on one GPU. All that is driven by the worker thread stands below queue.
type Device struct {
	gpu   GPU
	libs  *libraries
	live  map[*memory]struct{}
	inRun bool // between the first and last operation of a program that is captured

	queue     chan func()
	done      chan struct{}
	compute   C.CUstream
	copies    C.CUstream
	functions map[string]*function
	modules   []C.CUmodule
	programs  []*program
	staging   *staging
	readback  unsafe.Pointer // pinned, readbackBytes
	fetches   []*fetch
	idle      []*fetch // of them, those that nobody waits for
	rooms     map[string]*room
	lt        *products
	options   options
	err       error  // first since the last Sync
	lost      error  // the context is gone: nothing runs any more
	last      string // operation issued last
	capturing bool   // into a graph
	held      int    // bytes of tensors
}

type options struct{ sync, graph, search, tf32 bool }

// memory is one allocation; p is 0 where there was none to be had, and until the worker has come to it.
type memory struct {
	p    C.CUdeviceptr
	name string
	size int
}

var _ blas.Device = (*Device)(nil)

// New opens the GPU that MVP_CUDA_DEVICE names, the first one otherwise.
func New() (*Device, error) {
	libs, err := openDriver()
	if err != nil {
		return nil, err
	}
	d := &Device{libs: libs, live: map[*memory]struct{}{}, queue: make(chan func(), 256), done: make(chan struct{}),
		functions: map[string]*function{}, rooms: map[string]*room{},
		options: options{sync: os.Getenv("MVP_CUDA_SYNC") == "1", graph: os.Getenv("MVP_CUDA_GRAPH") != "off",
			search: os.Getenv("MVP_CUDA_SEARCH") == "1", tf32: os.Getenv("MVP_CUDA_TF32") == "1"}}
	go d.work()
	d.wait(func() { err = d.start() })
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// start makes all that the device needs, on the worker.
func (d *Device) start() error {
	ordinal := 0
	if s := os.Getenv("MVP_CUDA_DEVICE"); s != "" {
		var err error
		if ordinal, err = strconv.Atoi(s); err != nil || ordinal < 0 {
			return fmt.Errorf("MVP_CUDA_DEVICE=%s is no device number: `mvp-train devices` lists them", s)
		}
	}
	var err error
	if d.gpu, err = d.libs.describe(ordinal); err != nil {
		return err
	}
	if d.gpu.Capability < 80 {
		return fmt.Errorf("%s has compute capability %s, at least 8.0 (A100, RTX 30) is needed: use --device cpu", d.gpu.Name, d.gpu.capability())
	}
	if err := d.libs.openMath(); err != nil {
		return err
	}
	var context C.CUcontext
	if err := d.libs.check(C.call_cuDevicePrimaryCtxRetain(d.libs.cuda, &context, C.CUdevice(d.gpu.device)), "cuDevicePrimaryCtxRetain"); err != nil {
		return err
	}
	d.gpu.retained = true
	if err := d.libs.check(C.call_cuCtxSetCurrent(d.libs.cuda, context), "cuCtxSetCurrent"); err != nil {
		return err
	}
	for _, to := range []*C.CUstream{&d.compute, &d.copies} {
		var s C.CUstream
		if err := d.libs.check(C.call_cuStreamCreate(d.libs.cuda, &s, C.CU_STREAM_NON_BLOCKING), "cuStreamCreate"); err != nil {
			return err
		}
		*to = s
	}
	if d.gpu.pools { // freed memory stays with the process: no call into the system in a later Alloc
		var pool C.CUmemoryPool
		if err := d.libs.check(C.call_cuDeviceGetDefaultMemPool(d.libs.cuda, &pool, C.CUdevice(d.gpu.device)), "cuDeviceGetDefaultMemPool"); err != nil {
			return err
		}
		keep := C.uint64_t(1<<64 - 1)
		if err := d.libs.check(C.call_cuMemPoolSetAttribute(d.libs.cuda, pool, C.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, unsafe.Pointer(&keep)), "cuMemPoolSetAttribute"); err != nil {
			return err
		}
	}
	if err := d.libs.check(C.call_cuMemHostAlloc(d.libs.cuda, &d.readback, readbackBytes, 0), "cuMemHostAlloc"); err != nil {
		return err
	}
	if err := d.loadKernels(); err != nil {
		return err
	}
	if d.staging, err = d.newStaging(); err != nil {
		return err
	}
	d.lt, err = d.newProducts()
	return err
}

// work is the one thread that owns the context. It is never unlocked, so the thread ends with it.
func (d *Device) work() {
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

// op queues an operation: f runs on the worker unless the device is lost.
func (d *Device) op(name string, f func() error) {
	d.queue <- func() {
		if d.lost != nil {
			return
		}
		d.last = name
		err := f()
		if err == nil && d.options.sync {
			err = d.check(C.call_cuStreamSynchronize(d.libs.cuda, d.compute), "cuStreamSynchronize")
		}
		d.fail(name, err)
	}
}

func (d *Device) check(status C.CUresult, call string) error { return d.libs.check(status, call) }

// fail keeps the first error. Worker only.
func (d *Device) fail(op string, err error) {
	if err == nil {
		return
	}
	if err = d.judge(op, err); d.err == nil {
		d.err = err
	}
}

// judge names the operation in an error and notes whether the context survived it. Worker only.
func (d *Device) judge(op string, err error) error {
	err = fmt.Errorf("%s: %w", op, err)
	if c := (*callError)(nil); errors.As(err, &c) && c.sticky() {
		if !d.options.sync {
			err = fmt.Errorf("%w; the operation that caused it may be an earlier one: MVP_CUDA_SYNC=1 finds it", err)
		}
		d.lost = fmt.Errorf("the GPU's context is lost: %w", err)
		err = d.lost
	}
	return err
}

// sticky says whether every later call will fail too: CUDA's errors of devices and kernels, of ECC and of a driver that was unloaded.
func (e *callError) sticky() bool {
	return e.code == 4 || e.code == 46 || e.code >= 214 && e.code <= 226 || e.code >= 700 && e.code < 800
}

// Info implements blas.Device.
func (d *Device) Info() blas.Info {
	return blas.Info{Name: "cuda", Detail: fmt.Sprintf("%s; %s (%s), %s (%s)", d.gpu, d.libs.versions[1], d.libs.paths[1], d.libs.versions[2], d.libs.paths[2]),
		Threads: 1, Compute: []blas.DType{blas.BF16, blas.F32}, Samples: 32,
		Paths: []string{"sm_" + strconv.Itoa(d.gpu.Capability), d.libs.versions[0], d.libs.versions[1], d.libs.versions[2]}}
}

// Alloc implements blas.Device.
func (d *Device) Alloc(name string, t blas.DType, shape ...int) blas.Tensor {
	d.notInProgram("Alloc")
	n := t.Size()
	for _, s := range shape {
		n *= s
	}
	m := &memory{name: name, size: n}
	d.live[m] = struct{}{}
	d.op("alloc "+name, func() error {
		p, err := d.reserve(n, name)
		if err != nil {
			return err
		}
		m.p = p
		d.held += n
		return d.check(C.call_cuMemsetD8Async(d.libs.cuda, p, 0, C.size_t(max(n, 1)), d.compute), "cuMemsetD8Async")
	})
	return blas.NewTensor(m, t, shape...)
}

// reserve takes memory from the GPU's pool where there is one. Running out says how much was asked for and what is left.
func (d *Device) reserve(n int, name string) (p C.CUdeviceptr, err error) {
	if d.capturing { // the driver would make it part of the graph
		return 0, fmt.Errorf("%s was not reserved in the program's first run: it must issue the same operations each time", name)
	}
	if d.gpu.pools {
		err = d.check(C.call_cuMemAllocAsync(d.libs.cuda, &p, C.size_t(max(n, 1)), d.compute), "cuMemAllocAsync")
	} else {
		err = d.check(C.call_cuMemAlloc_v2(d.libs.cuda, &p, C.size_t(max(n, 1))), "cuMemAlloc")
	}
	if c := (*callError)(nil); errors.As(err, &c) && c.code == C.CUDA_ERROR_OUT_OF_MEMORY {
		var available, total C.size_t
		C.call_cuMemGetInfo_v2(d.libs.cuda, &available, &total)
		return 0, &MemoryError{Name: name, Want: n, Free: int(available), Total: int(total), Held: d.held, cause: err}
	}
	return p, err
}

// MemoryError says that the GPU has no room for a tensor.
type MemoryError struct {
	Name                    string
	Want, Free, Total, Held int // bytes; Held by tensors
	cause                   error
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%v: %s needs %s, %s of %s are free, tensors hold %s", e.cause, e.Name, sizeText(e.Want), sizeText(e.Free), sizeText(e.Total), sizeText(e.Held))
}

// Unwrap is the driver's error.
func (e *MemoryError) Unwrap() error { return e.cause }

// Room is what the device can give tensors in all.
func (e *MemoryError) Room() int { return e.Free + e.Held }

func sizeText(bytes int) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.3g MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(bytes)/(1<<30))
}

// giveBack returns memory after the work that was issued so far.
func (d *Device) giveBack(p C.CUdeviceptr) error {
	switch {
	case p == 0:
		return nil
	case d.gpu.pools:
		return d.check(C.call_cuMemFreeAsync(d.libs.cuda, p, d.compute), "cuMemFreeAsync")
	}
	return d.check(C.call_cuMemFree_v2(d.libs.cuda, p), "cuMemFree")
}

// Free implements blas.Device. The memory goes back after the operations that use it.
func (d *Device) Free(t blas.Tensor) {
	d.notInProgram("Free")
	m, ok := t.Mem().(*memory)
	if _, live := d.live[m]; !ok || !live {
		panic(fmt.Sprintf("blas/cuda: free of %v, which is not allocated here", t))
	}
	delete(d.live, m)
	d.op("free "+m.name, func() error {
		p := m.p
		if m.p = 0; p != 0 {
			d.held -= m.size
		}
		return d.giveBack(p)
	})
}

func (d *Device) notInProgram(what string) {
	if d.inRun {
		panic("blas/cuda: " + what + " inside a recorded program")
	}
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

// Sync implements blas.Device. A lost device gives its error each time.
func (d *Device) Sync() (err error) {
	d.wait(func() { err = d.sync() })
	return err
}

func (d *Device) sync() error {
	if d.lost == nil {
		d.fail("sync after "+d.last, d.check(C.call_cuStreamSynchronize(d.libs.cuda, d.compute), "cuStreamSynchronize"))
	}
	err := d.err
	if d.err = nil; d.lost != nil {
		err = d.lost
	}
	return err
}

// Close implements blas.Device.
func (d *Device) Close() (err error) {
	d.wait(func() {
		if d.compute != nil {
			err = d.sync()
		}
		d.finish()
	})
	close(d.queue)
	<-d.done
	d.libs.close()
	clear(d.live)
	return err
}

// finish gives back everything. What fails here, on a device that is lost, is lost with it.
func (d *Device) finish() {
	for _, p := range d.programs {
		p.destroy()
	}
	if d.lt != nil {
		d.lt.close()
	}
	if d.staging != nil {
		d.staging.close()
	}
	for _, f := range d.fetches {
		f.close(d)
	}
	for m := range d.live {
		_ = d.giveBack(m.p)
	}
	for _, r := range d.rooms {
		for _, p := range r.all {
			_ = d.giveBack(p)
		}
	}
	for _, m := range d.modules {
		C.call_cuModuleUnload(d.libs.cuda, m)
	}
	for _, s := range []C.CUstream{d.copies, d.compute} {
		if s != nil {
			C.call_cuStreamDestroy_v2(d.libs.cuda, s)
		}
	}
	if d.readback != nil {
		C.call_cuMemFreeHost(d.libs.cuda, d.readback)
	}
	if d.gpu.retained {
		C.call_cuCtxSetCurrent(d.libs.cuda, nil)
		C.call_cuDevicePrimaryCtxRelease_v2(d.libs.cuda, C.CUdevice(d.gpu.device))
	}
}
