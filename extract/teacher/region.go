package teacher

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// region is memory outside the Go heap: it does not move, the collector does not scan or count it, and pages that
// nobody touches cost nothing.
type region []byte

func newRegion(bytes int) (region, error) {
	b, err := unix.Mmap(-1, 0, max(bytes, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", bytes, err)
	}
	return b, nil
}

func (r *region) free() {
	if *r != nil {
		unix.Munmap(*r)
		*r = nil
	}
}

// float32s sees the region as numbers.
func (r region) float32s() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(r))), len(r)/4)
}

// uint16s sees the region as numbers of 16 bits.
func (r region) uint16s() []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(r))), len(r)/2)
}
