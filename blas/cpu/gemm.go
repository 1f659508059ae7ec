package cpu

// #include <stdlib.h>
// #include "kernels.h"
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

// Gemm implements blas.Device. oneDNN adds bias and accumulates by itself; the other epilogues follow on the float32
// product, which their rounding then sees once.
func (d *Device) Gemm(g blas.Gemm) {
	g.Check()
	only(g.Name(), g.A)
	d.queue <- func() { d.gemm(g) }
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
	if m > 0 && n > 0 {
		d.multiply(g, m, n, k)
	}
	if g.ColSum.Ok() {
		d.call(g.Name(), C.K_COLSUM, []blas.Tensor{g.ColSum, g.A}, []int{m, k, flag(g.TransA), kind(g.A)})
	}
}

func (d *Device) multiply(g blas.Gemm, m, n, k int) {
	simple := g.Epilogue == blas.Plain || g.Epilogue == blas.AddBias
	// An accumulated product in bf16 must not be rounded before it is added.
	if d.dnn != nil && k > 0 && simple && !(g.Accumulate && g.C.DType() != blas.F32) {
		if err := d.dnn.matmul(g, address(g.C), g.C.DType(), g.Accumulate); err != nil {
			d.fail(g.Name(), err)
		}
		return
	}
	rows := m
	if !g.TransA {
		rows = min(m, max(256, productElements/n))
	}
	product := d.scratch(rows * n)
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
	m, n, k := g.Dims()
	if d.dnn != nil && k > 0 {
		plain := g
		plain.Bias = blas.Tensor{}
		if err := d.dnn.matmul(plain, address(x), blas.F32, false); err != nil {
			d.fail(g.Name(), err)
			return
		}
	} else {
		d.call(g.Name(), C.K_GEMM, []blas.Tensor{x, g.A, g.B}, []int{m, n, k, flag(g.TransA), flag(g.TransB), kind(g.A)})
	}
	d.call(g.Name(), C.K_EPILOGUE, []blas.Tensor{g.C, x, g.Bias, g.Aux, g.Residual, g.Keep},
		[]int{m, n, int(g.Epilogue), flag(g.Accumulate), kind(g.C), kind(g.A), g.RowsPer, first})
}

// scratch is room for n float32, kept for the next call.
func (d *Device) scratch(n int) unsafe.Pointer {
	if n > d.roomFor {
		C.free(d.room)
		d.room, d.roomFor = C.malloc(C.size_t(4*n)), n
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
