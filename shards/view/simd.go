package view

// #cgo CFLAGS: -O2
// #include "simd.h"
import "C"

import "unsafe"

// level says what the two passes run on; each gives the bytes of resizeRow and resizeColumn.
type level int

const (
	plain  = level(C.PLAIN)
	avx2   = level(C.AVX2)
	avx512 = level(C.AVX512) // with VNNI
)

var simd = level(C.simd_level())

// overread is how far resize_rows reads beyond the last pixel of a row.
const overread = 13

// lowerBits is where the parts of a weight are cut, see simd.c.
const lowerBits = 11

// split fills t.parts, with an even number of pairs for each position.
func (t *taps) split() {
	if t.pairs > 0 {
		return
	}
	t.pairs = (t.size + 3) / 4 * 2
	t.parts = grow(t.parts, 4*t.pairs*len(t.first))
	clear(t.parts)
	for i, n := range t.count {
		parts := t.parts[4*t.pairs*i:]
		for k, w := range t.weight[i*t.size:][:n] {
			parts[k/2*4+k%2], parts[k/2*4+k%2+2] = int16(w>>lowerBits), int16(w&(1<<lowerBits-1))
		}
	}
}

// resizeRowsSIMD does as many of the rows from the top on as it may and returns their number: the rest lie too close to the end of
// the buffer. out is (rows, len(t.first), 3).
func resizeRowsSIMD(l level, out, in []uint8, stride, rows, width int, t *taps) int {
	for rows > 0 && (rows-1)*stride+3*width+overread > cap(in) {
		rows--
	}
	if rows > 0 {
		t.split()
		C.resize_rows(C.int(l), (*C.uint8_t)(&out[0]), (*C.uint8_t)(&in[0]), C.int64_t(stride), C.int64_t(rows), C.int64_t(len(t.first)),
			(*C.int64_t)(unsafe.Pointer(&t.first[0])), (*C.int64_t)(unsafe.Pointer(&t.count[0])), (*C.int16_t)(&t.parts[0]), C.int64_t(t.pairs))
	}
	return rows
}

// resizeColumnsSIMD makes all rows of n bytes of out; in begins at source row top.
func resizeColumnsSIMD(l level, out, in []uint8, n, top int, t *taps) {
	t.split()
	C.resize_columns(C.int(l), (*C.uint8_t)(&out[0]), (*C.uint8_t)(&in[0]), C.int64_t(n), C.int64_t(len(t.first)), C.int64_t(top),
		(*C.int64_t)(unsafe.Pointer(&t.first[0])), (*C.int64_t)(unsafe.Pointer(&t.count[0])), (*C.int16_t)(&t.parts[0]), C.int64_t(t.pairs))
}
