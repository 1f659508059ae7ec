package cuda

// #include <string.h>
// #include "api.h"
import "C"

import (
	"fmt"
	"unsafe"

	"mvptargets/blas"
)

// staging carries uploads: the host's bytes are copied into a pinned half, travel to the same half on the device on the copy stream,
// beside whatever computes, and are moved to their tensor on the compute stream, in order with the operations. While one half is
// on its way the other is filled.
type staging struct {
	d      *Device
	size   int // of a half
	halves [2]half
	now    int
}

type half struct {
	host     unsafe.Pointer
	device   C.CUdeviceptr
	used     int
	arrived  C.CUevent // last copy to the device
	consumed C.CUevent // last move to a tensor
}

const (
	smallestHalf  = 1 << 20
	largestHalf   = 64 << 20
	readbackBytes = 1 << 20
	stagingAlign  = 256
)

func (d *Device) newStaging() (*staging, error) {
	s := &staging{d: d}
	for i := range s.halves {
		for _, to := range []*C.CUevent{&s.halves[i].arrived, &s.halves[i].consumed} {
			var e C.CUevent
			if err := d.check(C.call_cuEventCreate(d.libs.cuda, &e, C.CU_EVENT_DISABLE_TIMING), "cuEventCreate"); err != nil {
				return s, err
			}
			*to = e
		}
	}
	return s, s.resize(smallestHalf)
}

// resize gives the halves another size: only while uploads still grow, in the first steps.
func (s *staging) resize(size int) error {
	d := s.d
	for i := range s.halves {
		h := &s.halves[i]
		if err := s.emptied(h); err != nil {
			return err
		}
		if h.host != nil {
			if err := d.check(C.call_cuMemFreeHost(d.libs.cuda, h.host), "cuMemFreeHost"); err != nil {
				return err
			}
		}
		if err := d.giveBack(h.device); err != nil {
			return err
		}
		h.host, h.device, h.used = nil, 0, 0
		if err := d.check(C.call_cuMemHostAlloc(d.libs.cuda, &h.host, C.size_t(size), 0), "cuMemHostAlloc"); err != nil {
			return fmt.Errorf("%w: %s of pinned memory for uploads", err, sizeText(size))
		}
		var err error
		if h.device, err = d.reserve(size, "uploads on their way"); err != nil {
			return err
		}
		// The copy stream may use the memory once the compute stream has it.
		if err := d.check(C.call_cuEventRecord(d.libs.cuda, h.consumed, d.compute), "cuEventRecord"); err != nil {
			return err
		}
		if err := d.check(C.call_cuStreamWaitEvent(d.libs.cuda, d.copies, h.consumed, 0), "cuStreamWaitEvent"); err != nil {
			return err
		}
	}
	s.size = size
	return nil
}

// emptied waits until a half's bytes have left the host; mostly they have long done so.
func (s *staging) emptied(h *half) error {
	d := s.d
	switch status := C.call_cuEventQuery(d.libs.cuda, h.arrived); status {
	case C.CUDA_SUCCESS:
		return nil
	case C.CUDA_ERROR_NOT_READY:
		return d.check(C.call_cuEventSynchronize(d.libs.cuda, h.arrived), "cuEventSynchronize")
	default:
		return d.check(status, "cuEventQuery")
	}
}

// half returns the half that has room for n bytes, which are at most its size.
func (s *staging) half(n int) (*half, error) {
	h := &s.halves[s.now]
	if h.used+n <= s.size {
		return h, nil
	}
	s.now = 1 - s.now
	h = &s.halves[s.now]
	h.used = 0
	if err := s.emptied(h); err != nil {
		return nil, err
	}
	return h, s.d.check(C.call_cuStreamWaitEvent(s.d.libs.cuda, s.d.copies, h.consumed, 0), "cuStreamWaitEvent")
}

// send moves bytes to device memory.
func (s *staging) send(to C.CUdeviceptr, src []byte) error {
	if want := min(len(src), largestHalf); want > s.size {
		grown := s.size
		for grown < want {
			grown *= 2
		}
		if err := s.resize(grown); err != nil {
			return err
		}
	}
	for len(src) > 0 {
		n := min(len(src), s.size)
		h, err := s.half(n)
		if err != nil {
			return err
		}
		if err := s.piece(h, to, src[:n]); err != nil {
			return err
		}
		h.used = (h.used + n + stagingAlign - 1) / stagingAlign * stagingAlign
		to += C.CUdeviceptr(n)
		src = src[n:]
	}
	return nil
}

func (s *staging) piece(h *half, to C.CUdeviceptr, src []byte) error {
	d, n := s.d, C.size_t(len(src))
	copy(unsafe.Slice((*byte)(unsafe.Add(h.host, h.used)), len(src)), src)
	staged := h.device + C.CUdeviceptr(h.used)
	if err := d.check(C.call_cuMemcpyHtoDAsync_v2(d.libs.cuda, staged, unsafe.Add(h.host, h.used), n, d.copies), "cuMemcpyHtoDAsync"); err != nil {
		return err
	}
	if err := d.check(C.call_cuEventRecord(d.libs.cuda, h.arrived, d.copies), "cuEventRecord"); err != nil {
		return err
	}
	if err := d.check(C.call_cuStreamWaitEvent(d.libs.cuda, d.compute, h.arrived, 0), "cuStreamWaitEvent"); err != nil {
		return err
	}
	if err := d.check(C.call_cuMemcpyDtoDAsync_v2(d.libs.cuda, to, staged, n, d.compute), "cuMemcpyDtoDAsync"); err != nil {
		return err
	}
	return d.check(C.call_cuEventRecord(d.libs.cuda, h.consumed, d.compute), "cuEventRecord")
}

func (s *staging) close() {
	for i := range s.halves {
		h := &s.halves[i]
		_ = s.d.giveBack(h.device)
		if h.host != nil {
			C.call_cuMemFreeHost(s.d.libs.cuda, h.host)
		}
		for _, e := range []C.CUevent{h.arrived, h.consumed} {
			if e != nil {
				C.call_cuEventDestroy_v2(s.d.libs.cuda, e)
			}
		}
	}
}

// Upload implements blas.Device.
func (d *Device) Upload(dst blas.Tensor, src []byte) {
	d.notInProgram("Upload")
	if len(src) != dst.Bytes() {
		panic(fmt.Sprintf("blas/cuda: upload of %d bytes to %v", len(src), dst))
	}
	taken := make(chan struct{})
	d.queue <- func() {
		defer close(taken)
		if d.lost != nil || len(src) == 0 {
			return
		}
		d.last = "upload"
		p, err := address(dst)
		if err == nil {
			err = d.staging.send(p, src)
		}
		d.fail("upload", err)
	}
	<-taken
}

// Download implements blas.Device.
func (d *Device) Download(dst []byte, src blas.Tensor) (err error) {
	d.notInProgram("Download")
	if len(dst) != src.Bytes() {
		panic(fmt.Sprintf("blas/cuda: download of %v to %d bytes", src, len(dst)))
	}
	d.wait(func() {
		if d.lost == nil && len(dst) > 0 {
			d.fail("download", d.receive(dst, src))
		}
		if err = d.err; d.lost != nil {
			err = d.lost
		}
		d.err = nil
	})
	return err
}

// receive waits for the work so far and copies a tensor to the host, piece by piece through pinned memory.
func (d *Device) receive(dst []byte, src blas.Tensor) error {
	from, err := address(src)
	if err != nil {
		return err
	}
	for len(dst) > 0 {
		n := min(len(dst), readbackBytes)
		if err := d.check(C.call_cuMemcpyDtoHAsync_v2(d.libs.cuda, d.readback, from, C.size_t(n), d.compute), "cuMemcpyDtoHAsync"); err != nil {
			return err
		}
		if err := d.check(C.call_cuStreamSynchronize(d.libs.cuda, d.compute), "cuStreamSynchronize after "+d.last); err != nil {
			return err
		}
		copy(dst[:n], unsafe.Slice((*byte)(d.readback), n))
		dst, from = dst[n:], from+C.CUdeviceptr(n)
	}
	return nil
}
