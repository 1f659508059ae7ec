package blastest

import (
	"fmt"
	"math"
	"slices"

	"mvptargets/blas"
)

// dropped are drop path factors of four samples: none dropped, the first, the last, neighbours, every other one, all.
var dropped = [][]float64{{1.25, 1.25, 1.25, 1.25}, {0, 1.25, 1.25, 1.25}, {1.25, 1.25, 1.25, 0}, {1.25, 0, 0, 1.25}, {0, 1.25, 0, 1.25}, {0, 0, 0, 0}}

// droppedCases leave dropped samples out. Where a device says that it reads nothing of theirs, they are NaN.
func droppedCases(compute blas.DType) (out []testCase) {
	for _, keep := range dropped {
		for _, size := range [][3]int{{1, 5, 7}, {5, 33, 16}, {14, 43, 9}, {29, 33, 65}, {29, 16, 1701}} {
			name := fmt.Sprintf("rows %v %v", keep, size)
			out = append(out, testCase{name, true, squares, func(s *side) { droppedRows(s, keep, size) }})
		}
		for _, size := range [][3]int{{1, 7, 5}, {5, 16, 33}, {29, 33, 40}} {
			name := fmt.Sprintf("weight gradient %v %v", keep, size)
			out = append(out, testCase{name, true, products, func(s *side) { droppedTerms(s, keep, size) }})
		}
		out = append(out,
			testCase{fmt.Sprintf("weight gradient %v 3 x 197 tokens each", keep), true, products, func(s *side) { droppedTerms(s, keep, [3]int{591, 43, 19}) }},
			testCase{fmt.Sprint("attention ", keep), true, products, func(s *side) { droppedAttention(s, keep) }},
			testCase{fmt.Sprint("layer norm backward ", keep), true, squares, func(s *side) { droppedNorm(s, keep) }})
	}
	return out
}

// branch is samples of so many rows each and their drop path factors.
type branch struct {
	*side
	factors []float64
	per     int
	keep    blas.Tensor
}

func (s *side) branch(factors []float64, per int) branch {
	return branch{s, factors, per, s.values(s.master, factors, len(factors))}
}

func (b branch) rows() int { return len(b.factors) * b.per }

// in makes an input of normal values times the flavor's scale, plain one of normal values, whose dropped rows hold v.
func (b branch) in(dt blas.DType, cols int, v float64) blas.Tensor {
	return b.filled(dt, b.flavor.scale, cols, v)
}

func (b branch) plain(dt blas.DType, cols int, v float64) blas.Tensor {
	return b.filled(dt, 1, cols, v)
}

func (b branch) filled(dt blas.DType, scale float64, cols int, v float64) blas.Tensor {
	x := b.draw(scale, b.rows()*cols)
	for i := range x {
		if b.factors[i/cols/b.per] == 0 {
			x[i] = v
		}
	}
	return b.values(dt, x, b.rows(), cols)
}

// unread is NaN on a device that says that it does not read it, else v.
func (b branch) unread(v float64) float64 {
	if slices.Contains(b.dev.Info().Skips, b.compute) {
		return math.NaN()
	}
	return v
}

// out makes an output whose dropped rows are undefined.
func (b branch) out(name string, g grade, dt blas.DType, shape ...int) blas.Tensor {
	x := b.side.out(name, g, dt, shape...)
	one := length(shape) / len(b.factors)
	b.outs[len(b.outs)-1].undefined = func(i int) bool { return b.factors[i/one] == 0 }
	return x
}

// droppedRows is products whose rows are samples': size is rows of one, n, k.
func droppedRows(s *side, keep []float64, size [3]int) {
	b, n, k := s.branch(keep, size[0]), size[1], size[2]
	m, w, wt, bias := b.rows(), s.plain(s.compute, n, k), s.plain(s.compute, k, n), s.in(s.master, n)
	g := blas.Gemm{A: b.in(s.compute, k, math.NaN()), Keep: b.keep, RowsPer: b.per, Bias: bias, Label: "test"}
	g.B, g.TransB, g.C = w, true, b.out("bias", sum, s.compute, m, n)
	g.Epilogue = blas.AddBias
	s.dev.Gemm(g)
	g.Epilogue, g.C, g.Aux = blas.AddBiasGELU, b.out("gelu", sum, s.compute, m, n), b.out("Aux", sum, s.compute, m, n)
	s.dev.Gemm(g)
	g.Epilogue, g.Residual = blas.AddResidual, s.in(s.master, m, n)
	g.C = s.out("residual", sum, s.master, m, n)
	s.dev.Gemm(g)
	g.C = s.check("residual in place", sum, g.Residual)
	s.dev.Gemm(g)
	g.B, g.TransB = wt, false
	g.Epilogue, g.C, g.Aux = blas.GELUGrad, b.out("gelu'", sum, s.compute, m, n), b.in(s.compute, n, math.NaN())
	s.dev.Gemm(g)
	g.Epilogue, g.C = blas.Plain, b.out("dX", sum, s.compute, m, n)
	s.dev.Gemm(g)
}

// droppedTerms is weight gradients whose terms are samples' rows: size is rows of one, m, n.
func droppedTerms(s *side, keep []float64, size [3]int) {
	b, m, n := s.branch(keep, size[0]), size[1], size[2]
	dy, x := b.in(s.compute, m, b.unread(0)), b.plain(s.compute, n, b.unread(1))
	for i, g := range []blas.Gemm{{A: dy, B: x}, {A: x, B: dy}} {
		g.TransA, g.Keep, g.RowsPer, g.Label = true, b.keep, b.per, "test"
		g.C = s.out(fmt.Sprint("C ", i), sum, s.compute, g.A.Cols(), g.B.Cols())
		s.dev.Gemm(g)
		if i == 0 {
			g.ColSum = s.sumInto("ColSum", sum, m)
		}
		g.C, g.Accumulate = s.sumInto(fmt.Sprint("sum ", i), sum, g.A.Cols(), g.B.Cols()), true
		s.dev.Gemm(g)
	}
}

func droppedAttention(s *side, keep []float64) {
	const n, heads, d = 19, 2, 8
	b := s.branch(keep, n)
	qkv := b.plain(s.compute, 3*heads*d, b.unread(1)) // first, to have the poison: from the bias it would reach every sample
	bias := s.plain(s.master, heads, n, n)
	f := blas.Attention{QKV: qkv, Bias: bias, Keep: b.keep, Heads: heads,
		Out: b.out("Out", soft, s.compute, b.rows(), heads*d), LSE: b.out("LSE", soft, s.master, len(keep), heads, n)}
	s.dev.Attention(f)
	s.dev.AttentionBackward(blas.AttentionBackward{DQKV: s.out("DQKV", soft, s.compute, b.rows(), 3*heads*d), DBias: s.sumInto("DBias", soft, heads, n, n),
		DOut: b.in(s.compute, heads*d, b.unread(0)), Out: f.Out, LSE: f.LSE, QKV: qkv, Bias: bias, Keep: b.keep, Heads: heads})
}

// droppedNorm is a layer norm's backward between two branches that drop other samples, alone and joined to the residual path.
func droppedNorm(s *side, keep []float64) {
	const per, d = 7, 75
	b, below := s.branch(keep, per), s.branch([]float64{1.25, 0, 1.25, 0}, per)
	dy := b.in(s.compute, d, b.unread(0)) // first, as above
	m, w := b.rows(), s.plain(s.master, d)
	f := blas.LayerNorm{Y: s.out("Y", sum, s.compute, m, d), Mean: s.out("Mean", sum, s.master, m), Rstd: s.out("Rstd", sum, s.master, m),
		X: s.in(s.master, m, d), Weight: w, Bias: w, Eps: 1e-6}
	s.dev.LayerNorm(f)
	r := blas.LayerNormBackward{DX: s.out("DX", sum, s.master, m, d), DY: dy, X: f.X, Mean: f.Mean, Rstd: f.Rstd, Weight: w,
		DWeight: s.sumInto("DWeight", sum, d), DBias: s.sumInto("DBias", sum, d), KeepDY: b.keep, RowsPer: per}
	s.dev.LayerNormBackward(r)
	r.DX, r.Accumulate = s.sumInto("joined DX", sum, m, d), true
	r.Low, r.Keep = s.out("Low", sum, s.compute, m, d), below.keep
	s.dev.LayerNormBackward(r)
}
