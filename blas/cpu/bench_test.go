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

// measure reports the rate of one operation.
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
}
