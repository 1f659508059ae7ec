package blas

import "math"

// Attention is multi-head self-attention (Vaswani et al., arXiv 1706.03762) with an additive bias per head: for sample b and
// head h, with q, k, v [N, d] cut from QKV and d = D/Heads,
//
//	S = q·kᵀ/sqrt(d) + Bias[h],  P = softmax(S),  Out = P·v,  LSE = log sum exp S.
//
// QKV's columns are q, k, v, each [Heads, d], as timm's reshape(B, N, 3, heads, d) reads them. A device that leaves out a sample that
// Keep drops gives 0 as its Out.
type Attention struct {
	Out   Tensor // [B*N, D], compute
	LSE   Tensor // [B, Heads, N], master
	QKV   Tensor // [B*N, 3*D], compute
	Bias  Tensor // [Heads, N, N], master; optional
	Keep  Tensor // [B], master: the branch's drop path factors; optional
	Heads int
}

func (a Attention) Name() string { return "attention" }
func (a Attention) Check() {
	checkAttention(checker(a.Name()), a.QKV, a.Out, a.LSE, a.Bias, a.Keep, a.Heads)
}

// Scale is 1/sqrt(d).
func (a Attention) Scale() float64 { return attentionScale(a.QKV, a.Heads) }

// Cost is the two products and every operand once.
func (a Attention) Cost() Cost {
	n := int64(a.LSE.Dim(2))
	return Cost{4 * int64(a.Out.Len()) * n, bytesOf(a.Out, a.LSE, a.QKV, a.Bias)}
}

// AttentionBackward recomputes P from QKV, Bias and LSE (FlashAttention-2, arXiv 2307.08691): with delta_i = DOut_i·Out_i and
// dP = DOut·vᵀ,
//
//	dS = P ⊙ (dP - delta),  dq = dS·k/sqrt(d),  dk = dSᵀ·q/sqrt(d),  dv = Pᵀ·DOut,  DBias[h] += sum over b of dS.
//
// A sample that Keep drops gets a DQKV of 0 and adds nothing to DBias; where the device does not skip, its DOut is 0.
type AttentionBackward struct {
	DQKV  Tensor // [B*N, 3*D], compute
	DBias Tensor // [Heads, N, N], master; present if Bias is
	DOut  Tensor // [B*N, D], compute
	Out   Tensor // [B*N, D], compute
	LSE   Tensor // [B, Heads, N], master
	QKV   Tensor // [B*N, 3*D], compute
	Bias  Tensor // [Heads, N, N], master; optional
	Keep  Tensor // [B], master: the branch's drop path factors; optional
	Heads int
}

func (a AttentionBackward) Name() string { return "attention backward" }
func (a AttentionBackward) Check() {
	op := checker(a.Name())
	checkAttention(op, a.QKV, a.Out, a.LSE, a.Bias, a.Keep, a.Heads)
	op.shape("DQKV", a.DQKV, a.QKV.Rows(), a.QKV.Cols())
	op.same("DQKV", a.DQKV, a.QKV)
	op.shape("DOut", a.DOut, a.Out.Rows(), a.Out.Cols())
	op.same("DOut", a.DOut, a.QKV)
	op.that(a.Bias.Ok() == a.DBias.Ok(), "DBias goes with Bias")
	if a.Bias.Ok() {
		op.shape("DBias", a.DBias, a.Bias.Shape()...)
		op.same("DBias", a.DBias, a.Bias)
	}
}

// Scale is 1/sqrt(d).
func (a AttentionBackward) Scale() float64 { return attentionScale(a.QKV, a.Heads) }

// Cost is the five products and every operand once.
func (a AttentionBackward) Cost() Cost {
	n := int64(a.LSE.Dim(2))
	return Cost{10 * int64(a.Out.Len()) * n, bytesOf(a.DQKV, a.DBias, a.DOut, a.Out, a.LSE, a.QKV, a.Bias)}
}

func attentionScale(qkv Tensor, heads int) float64 {
	return 1 / math.Sqrt(float64(qkv.Cols()/3/heads))
}

func checkAttention(op checker, qkv, out, lse, bias, keep Tensor, heads int) {
	op.rank("LSE", lse, 3)
	op.master("LSE", lse)
	b, n := lse.Dim(0), lse.Dim(2)
	op.shape("LSE", lse, b, heads, n)
	op.rank("QKV", qkv, 2)
	op.compute("QKV", qkv)
	d := qkv.Cols() / 3
	op.that(heads > 0 && d%heads == 0, "Heads must divide the width")
	op.shape("QKV", qkv, b*n, 3*d)
	op.shape("Out", out, b*n, d)
	op.same("Out", out, qkv)
	op.optional("Bias", bias, heads, n, n)
	op.same("Bias", bias, lse)
	op.keep(keep, b, 1)
}
