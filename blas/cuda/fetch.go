package cuda

// #include "api.h"
import "C"

import (
	"fmt"
	"unsafe"

	"mvptargets/blas"
)

// fetch is a small tensor on its way to the host: the pinned memory that its copy goes to, and the event behind that copy.
type fetch struct {
	host    unsafe.Pointer // blas.FetchBytes
	arrived C.CUevent
	after   string // the operation before it
	err     error  // first before it
}

// Fetch implements blas.Device: the copy stands on the compute stream, and only wait waits for it, and for nothing that was issued later.
func (d *Device) Fetch(dst []byte, src blas.Tensor) (wait func() error) {
	d.notInProgram("Fetch")
	if len(dst) != src.Bytes() || len(dst) > blas.FetchBytes {
		panic(fmt.Sprintf("blas/cuda: fetch of %v to %d bytes", src, len(dst)))
	}
	f := new(fetch)
	d.queue <- func() {
		if d.lost != nil {
			return
		}
		if n := len(d.idle); n > 0 {
			f, d.idle = d.idle[n-1], d.idle[:n-1]
		}
		d.fail("fetch", d.send(f, src))
		f.err, d.err = d.err, nil
	}
	return func() (err error) {
		d.wait(func() { err = d.land(f, dst) })
		return err
	}
}

// send issues the copy of a fetch; a new one gets its memory and event, of which as many are made as are ever under way at a time.
func (d *Device) send(f *fetch, src blas.Tensor) error {
	f.after = d.last
	if f.arrived == nil {
		d.fetches = append(d.fetches, f)
		if err := d.check(C.call_cuMemHostAlloc(d.libs.cuda, &f.host, blas.FetchBytes, 0), "cuMemHostAlloc"); err != nil {
			return err
		}
		if err := d.check(C.call_cuEventCreate(d.libs.cuda, &f.arrived, C.CU_EVENT_DISABLE_TIMING), "cuEventCreate"); err != nil {
			return err
		}
	}
	from, err := address(src)
	if err != nil {
		return err
	}
	if err := d.check(C.call_cuMemcpyDtoHAsync_v2(d.libs.cuda, f.host, from, C.size_t(src.Bytes()), d.compute), "cuMemcpyDtoHAsync"); err != nil {
		return err
	}
	return d.check(C.call_cuEventRecord(d.libs.cuda, f.arrived, d.compute), "cuEventRecord")
}

// land waits for the copy of a fetch and hands its bytes over.
func (d *Device) land(f *fetch, dst []byte) error {
	if d.lost == nil && f.err == nil {
		if err := d.check(C.call_cuEventSynchronize(d.libs.cuda, f.arrived), "cuEventSynchronize after "+f.after); err != nil {
			return d.judge("fetch", err)
		}
		copy(dst, unsafe.Slice((*byte)(f.host), len(dst)))
	}
	if d.lost != nil {
		return d.lost
	}
	if f.err == nil {
		d.idle = append(d.idle, f)
	}
	return f.err
}

func (f *fetch) close(d *Device) {
	if f.arrived != nil {
		C.call_cuEventDestroy_v2(d.libs.cuda, f.arrived)
	}
	if f.host != nil {
		C.call_cuMemFreeHost(d.libs.cuda, f.host)
	}
}
