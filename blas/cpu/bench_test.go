package cpu_test

import (
	"fmt"
	"testing"

	"mvptargets/blas"
)

// Shapes of ViT-B/16 at a micro-batch of 8.
const (
	benchBatch, benchTokens, benchWidth, benchHidden, benchHeads = 8, 197, 768, 3072, 12
)

func BenchmarkGemm(b *testing.B) {
	const rows = benchBatch * benchTokens
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		for _, c := range []struct {
			name           string
			m, n, k        int
			transA, transB bool
			accumulate     bool
			epilogue       blas.Epilogue
		}{
			{"fc1", rows, benchHidden, benchWidth, false, true, false, blas.Plain},
			{"fc1 gelu", rows, benchHidden, benchWidth, false, true, false, blas.AddBiasGELU},
			{"fc2 residual", rows, benchWidth, benchHidden, false, true, false, blas.AddResidual},
			{"fc1 dX", rows, benchWidth, benchHidden, false, false, false, blas.Plain},
			{"fc2 dX gelu'", rows, benchHidden, benchWidth, false, false, false, blas.GELUGrad},
			{"fc1 dW", benchHidden, benchWidth, rows, true, false, true, blas.Plain},
		} {
			b.Run(c.name+"/"+compute.String(), func(b *testing.B) {
				d := open(b, "", "")
				g := blas.Gemm{TransA: c.transA, TransB: c.transB, Accumulate: c.accumulate, Epilogue: c.epilogue}
				shape := func(swap bool, r, c int) []int {
					if swap {
						return []int{c, r}
					}
					return []int{r, c}
				}
				result := compute
				if c.accumulate || c.epilogue == blas.AddResidual {
					result = blas.F32
				}
				g.A = d.Alloc("a", compute, shape(c.transA, c.m, c.k)...)
				g.B = d.Alloc("b", compute, shape(c.transB, c.k, c.n)...)
				g.C = d.Alloc("c", result, c.m, c.n)
				g.Residual = d.Alloc("residual", blas.F32, c.m, c.n)
				g.Bias = d.Alloc("bias", blas.F32, c.n)
				g.Aux = d.Alloc("aux", compute, c.m, c.n)
				measure(b, d, g, func() { d.Gemm(g) })
			})
		}
	}
}

func BenchmarkAttention(b *testing.B) {
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		d := open(b, "", "")
		alloc := func(rows, cols int) blas.Tensor { return d.Alloc("x", compute, rows, cols) }
		rows := benchBatch * benchTokens
		f := blas.Attention{QKV: alloc(rows, 3*benchWidth), Out: alloc(rows, benchWidth), Heads: benchHeads,
			LSE: d.Alloc("lse", blas.F32, benchBatch, benchHeads, benchTokens), Bias: d.Alloc("bias", blas.F32, benchHeads, benchTokens, benchTokens)}
		r := blas.AttentionBackward{QKV: f.QKV, Out: f.Out, LSE: f.LSE, Bias: f.Bias, Heads: benchHeads, DQKV: alloc(rows, 3*benchWidth),
			DOut: alloc(rows, benchWidth), DBias: d.Alloc("dbias", blas.F32, benchHeads, benchTokens, benchTokens)}
		b.Run(fmt.Sprint("forward/", compute), func(b *testing.B) { measure(b, d, f, func() { d.Attention(f) }) })
		b.Run(fmt.Sprint("backward/", compute), func(b *testing.B) { measure(b, d, r, func() { d.AttentionBackward(r) }) })
	}
}

// BenchmarkMemoryBound runs what moves more than it computes, at a micro-batch's size, and the optimizer over ViT-B/16's parameters.
func BenchmarkMemoryBound(b *testing.B) {
	const rows, patches, masked, params = benchBatch * benchTokens, benchBatch * (benchTokens - 1), benchBatch * 75, 86_000_000
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		d := open(b, "", "")
		master := func(shape ...int) blas.Tensor { return d.Alloc("x", blas.F32, shape...) }
		low := func(shape ...int) blas.Tensor { return d.Alloc("x", compute, shape...) }
		x, y, w := master(rows, benchWidth), low(rows, benchWidth), master(benchWidth)
		n := blas.LayerNorm{X: x, Y: y, Mean: master(rows), Rstd: master(rows), Weight: w, Bias: w, Eps: 1e-6}
		nb := blas.LayerNormBackward{DX: master(rows, benchWidth), Accumulate: true, DY: y, X: x, Mean: n.Mean, Rstd: n.Rstd, Weight: w,
			DWeight: master(benchWidth), DBias: master(benchWidth), Low: low(rows, benchWidth)}
		tokens := blas.Tokens{X: x.Reshape(benchBatch, benchTokens, benchWidth), Embed: low(patches, benchWidth), CLS: w, MaskToken: w,
			Mask: d.Alloc("mask", blas.U8, benchBatch, benchTokens-1)}
		loss := blas.CosineLoss{Loss: master(1), Stats: master(masked, 3), Pred: low(masked, 512), Target: d.Alloc("target", blas.F16, masked, 512), Scale: 1}
		a := blas.AdamW{Param: master(params), Grad: master(params), M: master(params), V: master(params), Bounds: d.Alloc("bounds", blas.I32, 2),
			Factors: master(1, 2), Hyper: master(blas.HyperLen), State: master(blas.StateLen), Beta1: 0.9, Beta2: 0.98, Eps: 1e-8}
		if compute != blas.F32 {
			a.Low = low(params)
		}
		blas.Set(d, a.Bounds, []float64{0, params})
		blas.Set(d, a.Factors, []float64{1, 1})
		blas.Set(d, a.Hyper, []float64{1e-3, 0.05})
		blas.Set(d, a.State, []float64{3, 0, 1, 1})
		for _, c := range []struct {
			op    blas.Op
			issue func()
		}{
			{n, func() { d.LayerNorm(n) }}, {nb, func() { d.LayerNormBackward(nb) }}, {tokens, func() { d.Tokens(tokens) }},
			{loss, func() { d.CosineLoss(loss) }}, {a, func() { d.AdamW(a) }},
		} {
			b.Run(c.op.Name()+"/"+compute.String(), func(b *testing.B) { measure(b, d, c.op, c.issue) })
		}
	}
}

// measure reports the rates of one operation.
func measure(b *testing.B, d blas.Device, o blas.Op, issue func()) {
	issue()
	if err := d.Sync(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		issue()
		if err := d.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(o.Cost().FLOPs)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(float64(o.Cost().Bytes)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
}
