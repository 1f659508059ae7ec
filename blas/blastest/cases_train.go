package blastest

import (
	"fmt"

	"mvptargets/blas"
)

// attentionCases go through tokens that fill no vector, one head of one number, heads wider than a tensor core's tile, and B/16's own shape.
func attentionCases() (out []testCase) {
	for _, c := range []struct {
		b, n, heads, d int
		bias           bool
	}{{1, 1, 1, 1, false}, {2, 3, 2, 5, true}, {1, 17, 3, 16, true}, {2, 37, 2, 33, false}, {1, 70, 1, 100, true}, {2, 21, 1, 136, true}, {1, 197, 2, 64, true}} {
		name := fmt.Sprintf("attention %d x %d tokens, %d heads of %d, bias %v", c.b, c.n, c.heads, c.d, c.bias)
		out = append(out, testCase{name, true, products, func(s *side) {
			// Beyond this scale softmax is a choice between scores that rounding alone ranks.
			qkv, bias := s.scaled(s.compute, min(s.flavor.scale, 3), c.b*c.n, 3*c.heads*c.d), blas.Tensor{}
			if c.bias {
				bias = s.plain(s.master, c.heads, c.n, c.n)
			}
			attention(s, qkv, bias, c.b, c.n, c.heads)
		}})
	}
	return out
}

// attention is forward and backward; the bias may be absent.
func attention(s *side, qkv, bias blas.Tensor, b, n, heads int) {
	w := qkv.Cols() / 3
	f := blas.Attention{QKV: qkv, Bias: bias, Heads: heads,
		Out: s.out("Out", soft, s.compute, b*n, w), LSE: s.out("LSE", soft, s.master, b, heads, n)}
	r := blas.AttentionBackward{DQKV: s.out("DQKV", soft, s.compute, b*n, 3*w), DOut: s.in(s.compute, b*n, w),
		Out: f.Out, LSE: f.LSE, QKV: qkv, Bias: bias, Heads: heads}
	if bias.Ok() {
		r.DBias = s.sumInto("DBias", soft, heads, n, n)
	}
	s.dev.Attention(f)
	s.dev.AttentionBackward(r)
}

func trainCases(compute blas.DType) (out []testCase) {
	for _, size := range [][2]int{{1, 3}, {3, 17}, {75, 512}} {
		for _, target := range []blas.DType{blas.F16, compute.Master()} {
			out = append(out, testCase{fmt.Sprint("losses ", size, " target ", target), true, squares, func(s *side) {
				losses(s, s.in(s.compute, size[0], size[1]), s.plain(target, size[0], size[1]))
			}})
		}
	}
	for _, n := range []int{1, 5, 1003, 70001} {
		out = append(out,
			testCase{fmt.Sprint("sum of squares ", n), true, squares, func(s *side) {
				s.dev.SumSquares(blas.SumSquares{X: s.in(s.master, n), Out: s.out("Out", sum, s.master, 1)})
			}},
			testCase{fmt.Sprint("ema ", n), true, whole, func(s *side) {
				s.dev.EMA(blas.EMA{Param: s.in(s.master, n), Avg: s.sumInto("Avg", element, n), Decay: 0.999})
			}},
			testCase{fmt.Sprint("optimizer ", n), true, squares, func(s *side) { optimizer(s, n) }})
	}
	return out
}

// losses is both losses of rows of predictions against their targets, forward and backward.
func losses(s *side, pred, want blas.Tensor) {
	r, k := pred.Rows(), pred.Cols()
	stats := s.out("Stats", sum, s.master, r, 3)
	s.dev.CosineLoss(blas.CosineLoss{Loss: s.sumInto("cosine", sum, 1), Stats: stats, Pred: pred, Target: want, Scale: 1 / float64(r)})
	s.dev.CosineLossBackward(blas.CosineLossBackward{DPred: s.out("cosine DPred", soft, s.compute, r, k), Stats: stats,
		Pred: pred, Target: want, Scale: 1 / float64(r)})
	s.dev.SmoothL1Loss(blas.SmoothL1Loss{Loss: s.sumInto("smooth l1", sum, 1), Pred: pred, Target: want, Beta: 0.5, Scale: 1 / float64(r*k)})
	s.dev.SmoothL1LossBackward(blas.SmoothL1LossBackward{DPred: s.out("smooth l1 DPred", element, s.compute, r, k),
		Pred: pred, Target: want, Beta: 0.5, Scale: 1 / float64(r*k)})
}

// optimizer takes two steps with clipping and three segments: usual, without decay, frozen. A poisoned gradient must leave
// parameters and moments as they were and be counted.
func optimizer(s *side, n int) {
	grad := s.in(s.master, n)
	a := blas.AdamW{Grad: grad, Param: s.check("Param", element, s.plain(s.master, n)), M: s.sumInto("M", element, n),
		V: s.check("V", element, s.positive(s.master, s.flavor.scale*s.flavor.scale, n)), Low: s.out("Low", element, s.compute, n),
		Bounds:  s.values(blas.I32, []float64{0, float64(n / 3), float64(n - n/4), float64(n)}, 4),
		Factors: s.values(s.master, []float64{1, 1, 0.5, 0, 0, 1}, 3, 2),
		Hyper:   s.values(s.master, []float64{1e-2, 0.05}, blas.HyperLen),
		State:   s.check("State", sum, s.values(s.master, []float64{3, 1, 0, 0}, blas.StateLen)),
		Beta1:   0.9, Beta2: 0.98, Eps: 1e-8}
	square := s.out("SumSq", sum, s.master, 1)
	for range 2 {
		s.dev.SumSquares(blas.SumSquares{Out: square, X: grad})
		s.dev.PrepareStep(blas.PrepareStep{State: a.State, SumSq: square, MaxNorm: 3})
		s.dev.AdamW(a)
	}
}
