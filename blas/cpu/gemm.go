package cpu

/*
#include <stdlib.h>
#include "kernels.h"

static int64_t room(kernel *const *table, int threads, const int64_t *n) {
	int64_t bytes = 0;
	void *p[1] = {&bytes};
	thread me = {0, threads, 0};
	table[K_GEMM_ROOM](&me, p, n, 0);
	return bytes;
}
*/
import "C"

import (
	"unsafe"

	"mvptargets/blas"
)

func clearBytes(p unsafe.Pointer, n int) {
	if p != nil {
		clear(unsafe.Slice((*byte)(p), n))
	}
}

// Gemm implements blas.Device.
func (d *Device) Gemm(g blas.Gemm) {
	g.Check()
	only(g.Name(), g.A)
	d.queue <- func() { d.gemm(g) }
	if g.Norm.Y.Ok() {
		d.LayerNorm(g.Norm)
	}
}

func (d *Device) gemm(g blas.Gemm) {
	if g.Epilogue == blas.Plain || g.Epilogue == blas.GELUGrad {
		g.Bias = blas.Tensor{}
	}
	for _, t := range []blas.Tensor{g.A, g.B, g.C, g.Bias, g.Aux, g.Residual, g.Keep, g.ColSum} {
		if t.Ok() && address(t) == nil {
			d.fail(g.Name(), errMemory)
			return
		}
	}
	m, n, k := g.Dims()
	library := d.library(g.A.DType())
	if g.ColSum.Ok() && (library || !g.TransA || n == 0) { // else the product adds it up as it passes
		d.call(g.Name(), C.K_COLSUM, []blas.Tensor{g.ColSum, g.A}, []int{m, k, flag(g.TransA), kind(g.A)})
		g.ColSum = blas.Tensor{}
	}
	switch {
	case m == 0 || n == 0:
	case library:
		d.libraryProduct(g, m, n, k)
	default:
		d.ownProduct(g, m, n, k)
	}
}

// library says whether oneDNN multiplies operands of type t.
func (d *Device) library(t blas.DType) bool {
	return d.dnn != nil && (t == blas.F32 && d.dnnF32 || t == blas.BF16 && d.dnnBF16 && d.dnn.bf16)
}

// ownProduct is gemm.h's.
func (d *Device) ownProduct(g blas.Gemm, m, n, k int) {
	ints := []int{m, n, k, flag(g.TransA), flag(g.TransB), kind(g.A), kind(g.C), int(g.Epilogue), flag(g.Accumulate), g.RowsPer, d.block}
	room := d.scratch(d.roomOf(ints))
	if room == nil {
		d.fail(g.Name(), errMemory)
		return
	}
	scratch := blas.NewTensor(&memory{p: room}, blas.U8, d.roomFor)
	d.call(g.Name(), C.K_GEMM, []blas.Tensor{g.C, g.A, g.B, g.Bias, g.Aux, g.Residual, g.Keep, g.ColSum, scratch}, ints)
}

// roomOf asks gemm.h for the bytes of scratch that a product takes.
func (d *Device) roomOf(ints []int) int {
	var n [12]C.int64_t
	for i, v := range ints {
		n[i] = C.int64_t(v)
	}
	return int(C.room(d.table, C.int(d.threads), &n[0]))
}

// libraryProduct is oneDNN's. It adds bias and accumulates by itself; the other epilogues follow on the float32 product, which their
// rounding then sees once. It computes dropped samples too: to have no number of theirs undefined, all its products must.
func (d *Device) libraryProduct(g blas.Gemm, m, n, k int) {
	if g.Epilogue != blas.AddResidual {
		g.Keep = blas.Tensor{}
	}
	simple := g.Epilogue == blas.Plain || g.Epilogue == blas.AddBias
	// An accumulated product in bf16 must not be rounded before it is added.
	if simple && !(g.Accumulate && g.C.DType() != blas.F32) {
		if err := d.dnn.matmul(g, address(g.C), g.C.DType(), g.Accumulate); err != nil {
			d.fail(g.Name(), err)
		}
		return
	}
	rows := m
	if !g.TransA {
		rows = min(m, max(256, productElements/n))
	}
	product := d.scratch(4 * rows * n)
	if product == nil {
		d.fail(g.Name(), errMemory)
		return
	}
	for lo := 0; lo < m; lo += rows {
		hi := min(lo+rows, m)
		part := g
		if !g.TransA {
			part.A = g.A.Reshape(m, k).Slice(lo, hi)
		}
		for _, t := range []*blas.Tensor{&part.C, &part.Aux, &part.Residual} {
			if t.Ok() {
				*t = t.Reshape(m, n).Slice(lo, hi)
			}
		}
		d.rows(part, blas.NewTensor(&memory{p: product}, blas.F32, hi-lo, n), lo)
	}
}

// productElements bounds the float32 product that waits for its epilogue, so that it is still in the last-level cache.
const productElements = 2 << 20

// rows computes some rows of C by way of their float32 product x; first is the number of the first one.
func (d *Device) rows(g blas.Gemm, x blas.Tensor, first int) {
	m, n, _ := g.Dims()
	plain := g
	plain.Bias = blas.Tensor{}
	if err := d.dnn.matmul(plain, address(x), blas.F32, false); err != nil {
		d.fail(g.Name(), err)
		return
	}
	d.call(g.Name(), C.K_EPILOGUE, []blas.Tensor{g.C, x, g.Bias, g.Aux, g.Residual, g.Keep},
		[]int{m, n, int(g.Epilogue), flag(g.Accumulate), kind(g.C), kind(g.A), g.RowsPer, first})
}

// scratch is room for so many bytes, aligned to a cache line and kept for the next call.
func (d *Device) scratch(bytes int) unsafe.Pointer {
	if bytes > d.roomFor || d.room == nil {
		C.free(d.room)
		d.roomFor = (bytes + 4095) / 4096 * 4096
		d.room = allocate(max(d.roomFor, 4096))
		if d.room == nil {
			d.roomFor = 0
		}
	}
	return d.room
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
