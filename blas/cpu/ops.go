package cpu

// #include "kernels.h"
import "C"

import "mvptargets/blas"

// only panics on types that this device does not have; float64 belongs to ref.
func only(name string, ts ...blas.Tensor) {
	for _, t := range ts {
		if t.Ok() && t.DType() == blas.F64 {
			panic("blas/cpu: " + name + ": no f64 here, use ref")
		}
	}
}

func kind(t blas.Tensor) int { return int(t.DType()) }

// Zero implements blas.Device.
func (d *Device) Zero(t blas.Tensor) { d.queue <- func() { clearBytes(address(t), t.Bytes()) } }

// Cast implements blas.Device.
func (d *Device) Cast(c blas.Cast) {
	only(c.Name(), c.Dst, c.Src)
	d.kernel(c, C.K_CAST, []blas.Tensor{c.Dst, c.Src, c.Scale}, []int{c.Src.Rows(), c.Src.Cols(), kind(c.Dst), kind(c.Src), c.RowsPer})
}

// Patches implements blas.Device.
func (d *Device) Patches(p blas.Patches) {
	only(p.Name(), p.Dst)
	d.kernel(p, C.K_PATCHES, []blas.Tensor{p.Dst, p.Pixels, p.Index}, []int{p.Dst.Rows(), p.Pixels.Dim(1), p.Patch, kind(p.Dst)},
		p.Mean[0], p.Mean[1], p.Mean[2], p.Std[0], p.Std[1], p.Std[2])
}

// Tokens implements blas.Device.
func (d *Device) Tokens(t blas.Tokens) {
	only(t.Name(), t.X)
	d.kernel(t, C.K_TOKENS, []blas.Tensor{t.X, t.Embed, t.CLS, t.MaskToken, t.Pos, t.Mask},
		[]int{t.X.Dim(0), t.X.Dim(1), t.X.Dim(2), kind(t.Embed)})
}

// TokensBackward implements blas.Device.
func (d *Device) TokensBackward(t blas.TokensBackward) {
	only(t.Name(), t.DX)
	d.kernel(t, C.K_TOKENS_BACKWARD, []blas.Tensor{t.DEmbed, t.DCLS, t.DMaskToken, t.DPos, t.DX, t.Mask},
		[]int{t.DX.Dim(0), t.DX.Dim(1), t.DX.Dim(2), kind(t.DEmbed)})
}

// GatherRows implements blas.Device.
func (d *Device) GatherRows(g blas.GatherRows) {
	terms := g.Terms()
	if g.Copies() {
		terms = 0
	}
	d.kernel(g, C.K_GATHER, []blas.Tensor{g.Dst, g.Src, g.Index},
		[]int{g.Dst.Rows(), g.Src.Cols() * g.Src.DType().Size(), terms, g.Src.Cols(), kind(g.Src), flag(g.Accumulate)})
}

// ScatterRows implements blas.Device.
func (d *Device) ScatterRows(s blas.ScatterRows) {
	d.kernel(s, C.K_SCATTER, []blas.Tensor{s.Dst, s.Src, s.Index},
		[]int{s.Index.Len(), s.Src.Cols() * s.Src.DType().Size(), s.Dst.Rows()})
}

// LayerNorm implements blas.Device.
func (d *Device) LayerNorm(l blas.LayerNorm) {
	only(l.Name(), l.X)
	d.kernel(l, C.K_NORM, []blas.Tensor{l.Y, l.Mean, l.Rstd, l.X, l.Weight, l.Bias}, []int{l.X.Rows(), l.X.Cols(), kind(l.Y)}, l.Eps)
}

// LayerNormBackward implements blas.Device.
func (d *Device) LayerNormBackward(l blas.LayerNormBackward) {
	only(l.Name(), l.X)
	add := 0
	if l.Accumulate {
		add = 1
	}
	d.kernel(l, C.K_NORM_BACKWARD, []blas.Tensor{l.DX, l.DY, l.X, l.Mean, l.Rstd, l.Weight, l.DWeight, l.DBias, l.Low, l.Keep, l.KeepDY},
		[]int{l.X.Rows(), l.X.Cols(), kind(l.DY), add, l.RowsPer})
}

// LayerScale implements blas.Device.
func (d *Device) LayerScale(l blas.LayerScale) {
	only(l.Name(), l.Weight)
	d.kernel(l, C.K_SCALE, []blas.Tensor{l.ScaledWeight, l.ScaledBias, l.Weight, l.Bias, l.Gamma},
		[]int{l.Weight.Rows(), l.Weight.Cols(), kind(l.ScaledWeight)})
}

// LayerScaleBackward implements blas.Device.
func (d *Device) LayerScaleBackward(l blas.LayerScaleBackward) {
	only(l.Name(), l.Weight)
	d.kernel(l, C.K_SCALE_BACKWARD, []blas.Tensor{l.DWeight, l.DBias, l.DGamma, l.Weight, l.Bias, l.Gamma},
		[]int{l.Weight.Rows(), l.Weight.Cols()})
}

// RelPosBias implements blas.Device.
func (d *Device) RelPosBias(r blas.RelPosBias) {
	only(r.Name(), r.Bias)
	d.kernel(r, C.K_RELPOS, []blas.Tensor{r.Bias, r.Table, r.Index}, []int{r.Bias.Dim(0), r.Index.Len()})
}

// RelPosBiasBackward implements blas.Device.
func (d *Device) RelPosBiasBackward(r blas.RelPosBiasBackward) {
	only(r.Name(), r.DBias)
	d.kernel(r, C.K_RELPOS_BACKWARD, []blas.Tensor{r.DTable, r.DBias, r.Index}, []int{r.DBias.Dim(0), r.Index.Len()})
}

// Attention implements blas.Device.
func (d *Device) Attention(a blas.Attention) {
	only(a.Name(), a.QKV)
	d.kernel(a, C.K_ATTENTION, []blas.Tensor{a.Out, a.LSE, a.QKV, a.Bias, a.Keep},
		[]int{a.LSE.Dim(0), a.LSE.Dim(2), a.Heads, a.Out.Cols() / a.Heads, kind(a.QKV)}, a.Scale())
}

// AttentionBackward implements blas.Device.
func (d *Device) AttentionBackward(a blas.AttentionBackward) {
	only(a.Name(), a.QKV)
	d.kernel(a, C.K_ATTENTION_BACKWARD, []blas.Tensor{a.DQKV, a.DBias, a.DOut, a.Out, a.LSE, a.QKV, a.Bias, a.Keep},
		[]int{a.LSE.Dim(0), a.LSE.Dim(2), a.Heads, a.Out.Cols() / a.Heads, kind(a.QKV)}, a.Scale())
}

// CosineLoss implements blas.Device.
func (d *Device) CosineLoss(l blas.CosineLoss) {
	only(l.Name(), l.Pred, l.Target)
	d.kernel(l, C.K_COSINE, []blas.Tensor{l.Loss, l.Stats, l.Pred, l.Target},
		[]int{l.Pred.Rows(), l.Pred.Cols(), kind(l.Pred), kind(l.Target)}, l.Scale)
}

// CosineLossBackward implements blas.Device.
func (d *Device) CosineLossBackward(l blas.CosineLossBackward) {
	only(l.Name(), l.Pred, l.Target)
	d.kernel(l, C.K_COSINE_BACKWARD, []blas.Tensor{l.DPred, l.Stats, l.Pred, l.Target},
		[]int{l.Pred.Rows(), l.Pred.Cols(), kind(l.Pred), kind(l.Target)}, l.Scale)
}

// SmoothL1Loss implements blas.Device.
func (d *Device) SmoothL1Loss(l blas.SmoothL1Loss) {
	only(l.Name(), l.Pred, l.Target)
	d.kernel(l, C.K_SMOOTH, []blas.Tensor{l.Loss, l.Pred, l.Target},
		[]int{l.Pred.Rows(), l.Pred.Cols(), kind(l.Pred), kind(l.Target)}, l.Scale, l.Beta)
}

// SmoothL1LossBackward implements blas.Device.
func (d *Device) SmoothL1LossBackward(l blas.SmoothL1LossBackward) {
	only(l.Name(), l.Pred, l.Target)
	d.kernel(l, C.K_SMOOTH_BACKWARD, []blas.Tensor{l.DPred, l.Pred, l.Target},
		[]int{l.Pred.Rows(), l.Pred.Cols(), kind(l.Pred), kind(l.Target)}, l.Scale, l.Beta)
}

// SumSquares implements blas.Device.
func (d *Device) SumSquares(s blas.SumSquares) {
	only(s.Name(), s.X)
	d.kernel(s, C.K_SUMSQ, []blas.Tensor{s.Out, s.X}, []int{s.X.Len()})
}

// PrepareStep implements blas.Device.
func (d *Device) PrepareStep(p blas.PrepareStep) {
	only(p.Name(), p.State)
	d.kernel(p, C.K_PREPARE, []blas.Tensor{p.State, p.SumSq}, nil, p.MaxNorm)
}

// AdamW implements blas.Device.
func (d *Device) AdamW(a blas.AdamW) {
	only(a.Name(), a.Param)
	d.kernel(a, C.K_ADAMW, []blas.Tensor{a.Param, a.Grad, a.M, a.V, a.Low, a.Bounds, a.Factors, a.Hyper, a.State},
		[]int{a.Param.Len(), a.Factors.Rows(), kind(a.Low)}, a.Beta1, a.Beta2, a.Eps)
}

// EMA implements blas.Device.
func (d *Device) EMA(e blas.EMA) {
	only(e.Name(), e.Avg)
	d.kernel(e, C.K_EMA, []blas.Tensor{e.Avg, e.Param}, []int{e.Avg.Len()}, e.Decay)
}
