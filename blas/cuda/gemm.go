package cuda

// #include "api.h"
import "C"

import (
	"fmt"

	"mvptargets/blas"
)

// Gemm implements blas.Device.
//
// cuBLASLt adds bias, residual and accumulates by itself, in float32 before the one rounding. Its GELU is the approximation by tanh,
// which differs from the exact one by 4e-4 at most, less than bf16 keeps at 1: it is used in bf16, and float32 goes through own
// kernels.
func (d *Device) Gemm(g blas.Gemm) {
	g.Check()
	only(g.Name(), g.A, g.C)
	d.op(g.Name(), func() error { return d.gemm(g) })
}

func (d *Device) gemm(g blas.Gemm) error {
	m, n, _ := g.Dims()
	if m == 0 || n == 0 {
		return nil
	}
	p := problem{g: g, c: g.C}
	switch g.Epilogue {
	case blas.Plain:
		if g.Accumulate {
			p.add = g.C
		}
	case blas.AddBias:
		p.bias = g.Bias
	case blas.AddBiasGELU:
		return d.gemmGELU(p)
	case blas.GELUGrad:
		return d.gemmGELUGrad(p)
	case blas.AddResidual:
		if g.Keep.Ok() {
			return d.gemmDropPath(g)
		}
		p.add, p.bias = g.Residual, g.Bias
	}
	if g.ColSum.Ok() {
		return d.gemmColumnSums(p)
	}
	if err := d.multiply(p, C.CUBLASLT_EPILOGUE_DEFAULT); err != nil || !g.Norm.Y.Ok() {
		return err
	}
	return d.layerNorm(g.Norm)
}

// gemmGELU is Aux = op(A)·op(B) + bias, C = gelu(Aux).
func (d *Device) gemmGELU(p problem) error {
	g := p.g
	p.bias = g.Bias
	if g.C.DType() == blas.BF16 && g.A.DType() == blas.BF16 {
		p.aux = g.Aux
		if ok, err := d.tryMultiply(p, C.CUBLASLT_EPILOGUE_GELU_AUX_BIAS); ok || err != nil {
			return err
		}
		p.aux = blas.Tensor{}
	}
	p.c = g.Aux
	if err := d.multiply(p, C.CUBLASLT_EPILOGUE_DEFAULT); err != nil {
		return err
	}
	if g.C.DType() != g.Aux.DType() {
		return fmt.Errorf("no GELU from %v to %v", g.Aux, g.C)
	}
	return d.launch("gelu_"+g.C.DType().String(), d.flat(g.C.Len()), g.C, g.Aux, int64(g.C.Len()))
}

// gemmGELUGrad is C = (op(A)·op(B)) ⊙ gelu'(Aux).
func (d *Device) gemmGELUGrad(p problem) error {
	g := p.g
	if g.C.DType() == blas.BF16 && g.A.DType() == blas.BF16 {
		p.aux = g.Aux
		if ok, err := d.tryMultiply(p, C.CUBLASLT_EPILOGUE_DGELU); ok || err != nil {
			return err
		}
		p.aux = blas.Tensor{}
	}
	if err := d.multiply(p, C.CUBLASLT_EPILOGUE_DEFAULT); err != nil {
		return err
	}
	if g.C.DType() != g.Aux.DType() {
		return fmt.Errorf("no GELU gradient from %v to %v", g.Aux, g.C)
	}
	return d.launch("gelu_grad_"+g.C.DType().String(), d.flat(g.C.Len()), g.C, g.Aux, int64(g.C.Len()))
}

// fusedWidth is the widest row that kept_norm holds in registers (norm.cu); scalesBytes is where a bias lies behind drop path's scales
// (elementwise.cu).
const fusedWidth, scalesBytes = 1024, 256

// gemmDropPath is C = Residual + keep·(op(A)·op(B) + bias) and C's layer norm. A sample's factor is 0 or the one that all others have
// (package blas, "Dropped samples"). That one cuBLASLt multiplies by, from the device's memory, and adds the residual; the rows of dropped
// samples get theirs back in the kernel that takes the norm.
func (d *Device) gemmDropPath(g blas.Gemm) error {
	m, n, _ := g.Dims()
	c, err := address(g.C)
	if err != nil {
		return err
	}
	if residual, err := address(g.Residual); err != nil {
		return err
	} else if residual == c {
		return d.gemmApart(g)
	}
	scales, err := d.scratch("drop path", scalesBytes+4*n)
	if err != nil {
		return err
	}
	if err := d.launch("drop_path_scales", shape{grid: [3]int{ceil(n, threads)}, block: threads}, scales, g.Keep, g.Bias, g.Keep.Len(), n); err != nil {
		return err
	}
	p := problem{g: g, c: g.C, add: g.Residual, scales: scales}
	if g.Bias.Ok() {
		p.bias = blas.NewTensor(&memory{p: scales + scalesBytes, name: "a bias"}, blas.F32, n)
	}
	if ok, err := d.tryMultiply(p, C.CUBLASLT_EPILOGUE_DEFAULT); err != nil {
		return err
	} else if !ok {
		return d.gemmApart(g)
	}
	l := g.Norm
	if l.Y.Ok() && n <= fusedWidth {
		return d.launch(typed("kept_norm", l.Y), rowsOf(m), g.C, l.Y, l.Mean, l.Rstd, g.Residual, g.Keep, l.Weight, l.Bias, m, n, g.RowsPer, float32(l.Eps))
	}
	if err := d.launch("put_back", rowsOf(m), g.C, g.Residual, g.Keep, m, n, g.RowsPer); err != nil || !l.Y.Ok() {
		return err
	}
	return d.layerNorm(l)
}

// gemmApart is gemmDropPath where C is the residual, which dropped samples could not get back, or cuBLASLt has no algorithm for that: another
// kernel adds the product to it.
func (d *Device) gemmApart(g blas.Gemm) error {
	m, n, _ := g.Dims()
	x, err := d.scratch("a product", 4*m*n)
	if err != nil {
		return err
	}
	if err := d.multiply(problem{g: g, c: blas.NewTensor(&memory{p: x, name: "a product"}, blas.F32, m, n)}, C.CUBLASLT_EPILOGUE_DEFAULT); err != nil {
		return err
	}
	if err := d.launch("residual_f32", d.flat(m*n), g.C, x, g.Bias, g.Residual, g.Keep, m, n, g.RowsPer); err != nil || !g.Norm.Y.Ok() {
		return err
	}
	return d.layerNorm(g.Norm)
}

// gemmColumnSums adds the sums of op(A) over k to ColSum beside the product: cuBLASLt's bias gradient where it has one.
func (d *Device) gemmColumnSums(p problem) error {
	g := p.g
	m, _, k := g.Dims()
	if g.C.DType() == blas.F32 {
		sums, err := d.scratch("a bias gradient", 4*m)
		if err != nil {
			return err
		}
		p.sums = blas.NewTensor(&memory{p: sums, name: "a bias gradient"}, blas.F32, m)
		ok, err := d.tryMultiply(p, C.CUBLASLT_EPILOGUE_BGRADB)
		if err != nil {
			return err
		}
		if ok {
			return d.addRows(g.ColSum, blas.Tensor{}, sums, 1, m, 0)
		}
		p.sums = blas.Tensor{}
	}
	if err := d.multiply(p, C.CUBLASLT_EPILOGUE_DEFAULT); err != nil {
		return err
	}
	if !g.TransA {
		return d.launch("row_sums_"+g.A.DType().String(), rowsOf(m), g.ColSum, g.A, m, k)
	}
	blocks := min(k, 64)
	partial, err := d.scratch("column sums", 4*blocks*m)
	if err != nil {
		return err
	}
	if err := d.launch("column_sums_"+g.A.DType().String(), shape{grid: [3]int{ceil(m, threads), blocks}, block: threads}, partial, g.A, blas.Tensor{}, k, m); err != nil {
		return err
	}
	return d.addRows(g.ColSum, blas.Tensor{}, partial, blocks, m, 0)
}

// addRows adds the rows of a partial sum to one or two vectors.
func (d *Device) addRows(out0, out1 blas.Tensor, partial C.CUdeviceptr, rows, cols0, cols1 int) error {
	return d.launch("add_rows", shape{grid: [3]int{ceil(cols0+cols1, 32)}, block: threads, shared: 4 * threads}, out0, out1, partial, rows, int64(cols0), int64(cols1))
}

// multiply is tryMultiply where there must be an algorithm.
func (d *Device) multiply(p problem, epilogue int) error {
	ok, err := d.tryMultiply(p, epilogue)
	if err == nil && !ok {
		m, n, k := p.g.Dims()
		err = fmt.Errorf("cuBLASLt has no algorithm for [%d, %d] x [%d, %d] in %v", m, k, k, n, p.g.A.DType())
	}
	return err
}
