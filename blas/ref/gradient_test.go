package ref

import (
	"math"
	"math/rand/v2"
	"testing"

	"mvptargets/blas"
)

// bench holds the tensors of one gradient check: all F64, filled with values that depend on their order alone.
type bench struct {
	*Device
	t *testing.T
	r *rand.Rand
}

func newBench(t *testing.T) *bench { return &bench{New(), t, rand.New(rand.NewPCG(7, 11))} }

func (b *bench) zeros(shape ...int) blas.Tensor { return b.Alloc("test", blas.F64, shape...) }

func (b *bench) random(shape ...int) blas.Tensor {
	t := b.zeros(shape...)
	for i := range data(t) {
		data(t)[i] = b.r.NormFloat64()
	}
	return t
}

func (b *bench) ints(dt blas.DType, v []float64, shape ...int) blas.Tensor {
	t := b.Alloc("test", dt, shape...)
	copy(data(t), v)
	return t
}

// check compares the analytic gradient grad of input with central differences of objective, relative to the largest element.
// Step 1e-5 leaves a truncation error near 1e-10 and a rounding error near 1e-11: 1e-7 has room for both.
func (b *bench) check(name string, input, grad blas.Tensor, objective func() float64) {
	b.t.Helper()
	const step, tolerance = 1e-5, 1e-7
	x, want := data(input), append([]float64(nil), data(grad)...)
	var worst, largest float64
	for i, v := range x {
		x[i] = v + step
		up := objective()
		x[i] = v - step
		down := objective()
		x[i] = v
		worst = math.Max(worst, math.Abs((up-down)/(2*step)-want[i]))
		largest = math.Max(largest, math.Abs(want[i]))
	}
	if largest == 0 {
		b.t.Errorf("%s: the gradient is zero everywhere", name)
	}
	if worst > tolerance*math.Max(1, largest) || math.IsNaN(worst) {
		b.t.Errorf("%s: finite differences differ by %.2g (largest gradient %.2g)", name, worst, largest)
	}
}

// weigh is the objective sum(weights ⊙ out): its gradient with respect to out is weights.
func weigh(weights, out blas.Tensor) float64 { return dot(data(weights), data(out)) }

func TestGemmGradients(t *testing.T) {
	const m, n, k = 4, 5, 3
	b := newBench(t)
	x, w, bias, res := b.random(m, k), b.random(n, k), b.random(n), b.random(m, n)
	keep := b.random(2)
	y, aux, dy := b.zeros(m, n), b.zeros(m, n), b.random(m, n)
	for _, e := range []blas.Epilogue{blas.AddBias, blas.AddBiasGELU, blas.AddResidual} {
		forward := func() float64 {
			g := blas.Gemm{C: y, A: x, B: w, TransB: true, Epilogue: e, Bias: bias}
			if e == blas.AddBiasGELU {
				g.Aux = aux
			} else if e == blas.AddResidual {
				g.Residual, g.Keep, g.RowsPer = res, keep, m/2
			}
			b.Gemm(g)
			return weigh(dy, y)
		}
		forward()
		d := b.zeros(m, n) // the gradient at the product, behind the epilogue
		switch e {
		case blas.AddBias:
			copy(data(d), data(dy))
		case blas.AddBiasGELU: // through GELUGrad with an identity, so that the epilogue itself is checked
			eye := b.zeros(n, n)
			for i := range n {
				row(eye, i)[i] = 1
			}
			b.Gemm(blas.Gemm{C: d, A: dy, B: eye, Epilogue: blas.GELUGrad, Aux: aux})
		case blas.AddResidual:
			b.Cast(blas.Cast{Dst: d, Src: dy, Scale: keep, RowsPer: m / 2})
		}
		dx, dw, db := b.zeros(m, k), b.zeros(n, k), b.zeros(n)
		b.Gemm(blas.Gemm{C: dx, A: d, B: w})
		b.Gemm(blas.Gemm{C: dw, A: d, TransA: true, B: x, Accumulate: true, ColSum: db})
		b.check(e.String()+" x", x, dx, forward)
		b.check(e.String()+" w", w, dw, forward)
		b.check(e.String()+" bias", bias, db, forward)
	}
}

func TestTokensGradients(t *testing.T) {
	const n, p, width = 2, 4, 3
	b := newBench(t)
	op := blas.Tokens{X: b.zeros(n, p+1, width), Embed: b.random(n*p, width), CLS: b.random(width), MaskToken: b.random(width),
		Pos: b.random(p+1, width), Mask: b.ints(blas.U8, []float64{1, 0, 0, 1, 0, 0, 1, 0}, n, p)}
	dx := b.random(n, p+1, width)
	forward := func() float64 { b.Tokens(op); return weigh(dx, op.X) }
	back := blas.TokensBackward{DEmbed: b.zeros(n*p, width), DCLS: b.zeros(width), DMaskToken: b.zeros(width),
		DPos: b.zeros(p+1, width), DX: dx, Mask: op.Mask}
	b.TokensBackward(back)
	b.check("embed", op.Embed, back.DEmbed, forward)
	b.check("cls", op.CLS, back.DCLS, forward)
	b.check("mask token", op.MaskToken, back.DMaskToken, forward)
	b.check("pos", op.Pos, back.DPos, forward)
}

func TestRowsGradients(t *testing.T) {
	b := newBench(t)
	index := b.ints(blas.I32, []float64{4, 0, 3}, 3)
	src, dst, d, dsrc := b.random(5, 2), b.zeros(3, 2), b.random(3, 2), b.zeros(5, 2)
	b.ScatterRows(blas.ScatterRows{Dst: dsrc, Src: d, Index: index})
	b.check("rows", src, dsrc, func() float64 {
		b.GatherRows(blas.GatherRows{Dst: dst, Src: src, Index: index})
		return weigh(d, dst)
	})
}

// A row that goes to several has the sum of their gradients.
func TestSpreadRowsGradients(t *testing.T) {
	b := newBench(t)
	spread, users := b.ints(blas.I32, []float64{1, 0, 1, 0}, 4), b.ints(blas.I32, []float64{1, 3, 0, 2}, 2, 2)
	src, dst, d, dsrc := b.random(2, 3), b.zeros(4, 3), b.random(4, 3), b.random(2, 3)
	res := b.zeros(2, 3) // of another path, to which the sums are added
	copy(data(res), data(dsrc))
	b.GatherRows(blas.GatherRows{Dst: dsrc, Src: d, Index: users, Accumulate: true})
	b.check("rows", src, dsrc, func() float64 {
		b.GatherRows(blas.GatherRows{Dst: dst, Src: src, Index: spread})
		return weigh(d, dst) + weigh(res, src)
	})
}

func TestLayerNormGradients(t *testing.T) {
	const m, width = 4, 5
	b := newBench(t)
	op := blas.LayerNorm{Y: b.zeros(m, width), Mean: b.zeros(m), Rstd: b.zeros(m), X: b.random(m, width),
		Weight: b.random(width), Bias: b.random(width), Eps: 1e-6}
	dy, res := b.random(m, width), b.random(m, width)
	// The residual path: objective = sum(dy ⊙ LN(x)) + sum(res ⊙ x).
	forward := func() float64 { b.LayerNorm(op); return weigh(dy, op.Y) + weigh(res, op.X) }
	forward()
	back := blas.LayerNormBackward{DX: b.zeros(m, width), Accumulate: true, DY: dy, X: op.X, Mean: op.Mean, Rstd: op.Rstd,
		Weight: op.Weight, DWeight: b.zeros(width), DBias: b.zeros(width), Low: b.zeros(m, width), Keep: b.random(2), RowsPer: 2}
	copy(data(back.DX), data(res))
	b.LayerNormBackward(back)
	b.check("x", op.X, back.DX, forward)
	b.check("weight", op.Weight, back.DWeight, forward)
	b.check("bias", op.Bias, back.DBias, forward)
	for i, v := range data(back.DX) {
		if want := v * data(back.Keep)[i/width/2]; data(back.Low)[i] != want {
			t.Fatalf("low[%d] = %g, want %g", i, data(back.Low)[i], want)
		}
	}
}

func TestLayerScaleGradients(t *testing.T) {
	b := newBench(t)
	op := blas.LayerScale{ScaledWeight: b.zeros(3, 2), ScaledBias: b.zeros(3), Weight: b.random(3, 2), Bias: b.random(3), Gamma: b.random(3)}
	back := blas.LayerScaleBackward{DWeight: b.random(3, 2), DBias: b.random(3), DGamma: b.zeros(3), Weight: op.Weight, Bias: op.Bias, Gamma: op.Gamma}
	dw, db := b.zeros(3, 2), b.zeros(3)
	copy(data(dw), data(back.DWeight))
	copy(data(db), data(back.DBias))
	forward := func() float64 {
		b.LayerScale(op)
		return weigh(dw, op.ScaledWeight) + weigh(db, op.ScaledBias)
	}
	b.LayerScaleBackward(back)
	b.check("weight", op.Weight, back.DWeight, forward)
	b.check("bias", op.Bias, back.DBias, forward)
	b.check("gamma", op.Gamma, back.DGamma, forward)
}

func TestRelPosBiasGradients(t *testing.T) {
	b := newBench(t)
	index := b.ints(blas.I32, []float64{0, 1, 2, 1, 0, 1, 3, 1, 0}, 3, 3)
	bias, table, d, dtable := b.zeros(2, 3, 3), b.random(4, 2), b.random(2, 3, 3), b.zeros(4, 2)
	b.RelPosBiasBackward(blas.RelPosBiasBackward{DTable: dtable, DBias: d, Index: index})
	b.check("table", table, dtable, func() float64 {
		b.RelPosBias(blas.RelPosBias{Bias: bias, Table: table, Index: index})
		return weigh(d, bias)
	})
}

func TestAttentionGradients(t *testing.T) {
	const n, tokens, heads, width = 2, 3, 2, 4
	b := newBench(t)
	op := blas.Attention{Out: b.zeros(n*tokens, width), LSE: b.zeros(n, heads, tokens), QKV: b.random(n*tokens, 3*width),
		Bias: b.random(heads, tokens, tokens), Heads: heads}
	dout := b.random(n*tokens, width)
	forward := func() float64 { b.Attention(op); return weigh(dout, op.Out) }
	forward()
	back := blas.AttentionBackward{DQKV: b.zeros(n*tokens, 3*width), DBias: b.zeros(heads, tokens, tokens), DOut: dout,
		Out: op.Out, LSE: op.LSE, QKV: op.QKV, Bias: op.Bias, Heads: heads}
	b.AttentionBackward(back)
	b.check("qkv", op.QKV, back.DQKV, forward)
	b.check("bias", op.Bias, back.DBias, forward)
}

func TestLossGradients(t *testing.T) {
	const rows, width, scale = 3, 4, 0.7
	b := newBench(t)
	pred, target, loss := b.random(rows, width), b.random(rows, width), b.zeros(1)
	stats, dpred := b.zeros(rows, 3), b.zeros(rows, width)
	cosine := func() float64 {
		b.Zero(loss)
		b.CosineLoss(blas.CosineLoss{Loss: loss, Stats: stats, Pred: pred, Target: target, Scale: scale})
		return data(loss)[0]
	}
	cosine()
	b.CosineLossBackward(blas.CosineLossBackward{DPred: dpred, Stats: stats, Pred: pred, Target: target, Scale: scale})
	b.check("cosine", pred, dpred, cosine)

	b.SmoothL1LossBackward(blas.SmoothL1LossBackward{DPred: dpred, Pred: pred, Target: target, Beta: 0.9, Scale: scale})
	b.check("smooth l1", pred, dpred, func() float64 {
		b.Zero(loss)
		b.SmoothL1Loss(blas.SmoothL1Loss{Loss: loss, Pred: pred, Target: target, Beta: 0.9, Scale: scale})
		return data(loss)[0]
	})
}
