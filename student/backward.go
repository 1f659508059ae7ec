package student

import "mvptargets/blas"

// linearBackward is the backward of y = x·wᵀ + b: dx = dy·w (through epilogue e of aux where the layer below ends in GELU), and
// dw += dyᵀ·x, db += sum of dy. keep has the factors of the branch that it is in, if it is in one.
func (m *Model) linearBackward(label string, dx, dy, x, w, dw, db, keep blas.Tensor, e blas.Epilogue, aux blas.Tensor) {
	m.dev.Gemm(blas.Gemm{Label: label + " dW", C: dw, A: dy, TransA: true, B: x, Accumulate: true, ColSum: db, Keep: keep, RowsPer: m.rowsPer(dy)})
	if dx.Ok() {
		m.dev.Gemm(blas.Gemm{Label: label + " dX", C: dx, A: dy, B: w, Epilogue: e, Aux: aux, Keep: keep, RowsPer: m.rowsPer(dy)})
	}
}

// backward runs from the loss to the patch embedding, adding to Params.Grad. It follows forward line by line, from the end.
func (m *Model) backward() {
	if m.Loss.Kind == "smooth_l1" {
		m.dev.SmoothL1LossBackward(blas.SmoothL1LossBackward{DPred: m.dpred, Pred: m.pred, Target: m.target, Beta: m.Loss.Beta, Scale: m.lossScale()})
	} else {
		m.dev.CosineLossBackward(blas.CosineLossBackward{DPred: m.dpred, Stats: m.stats, Pred: m.pred, Target: m.target, Scale: m.lossScale()})
	}
	m.linearBackward("head", m.dhR, m.dpred, m.hn, m.weight("target_head.weight"),
		m.grad("target_head.weight"), m.grad("target_head.bias"), blas.Tensor{}, blas.Plain, blas.Tensor{})
	m.dev.LayerNormBackward(blas.LayerNormBackward{DX: m.dxR, DY: m.dhR, X: m.out, Mean: m.meanN, Rstd: m.rstdN,
		Weight: m.value("norm.weight"), DWeight: m.grad("norm.weight"), DBias: m.grad("norm.bias"),
		Low: m.lowR, Keep: m.keepOf(m.Depth-1, 1), RowsPer: m.LossRows})
	for i := m.Depth - 1; i >= 0; i-- {
		m.blockBackward(i)
	}
	if m.sharesEntry() {
		m.entryBackward()
		return
	}
	m.dev.TokensBackward(blas.TokensBackward{DEmbed: m.embed, DCLS: m.grad("cls_token"), DMaskToken: m.grad("mask_token"),
		DPos: m.posGrad(), DX: m.dx.Reshape(m.Batch, m.Tokens(), m.Width), Mask: m.mask})
	m.embedBackward()
}

// embedBackward adds to the gradients of the patch embedding's parameters.
func (m *Model) embedBackward() {
	m.linearBackward("patch embedding", blas.Tensor{}, m.embed, m.patches, blas.Tensor{},
		m.grad("patch_embed.proj.weight"), m.grad("patch_embed.proj.bias"), blas.Tensor{}, blas.Plain, blas.Tensor{})
}

// qkvBackward goes from dqkv to dh, the gradient of block i's first norm.
func (m *Model) qkvBackward(i int, dh, dqkv, keep blas.Tensor) {
	n := blockName(i)
	m.linearBackward("qkv", dh, dqkv, m.blocks[i].h1, m.weight(n+"attn.qkv.weight"), m.grad(n+"attn.qkv.weight"), m.qkvBias(m.Params.Grad, n), keep,
		blas.Plain, blas.Tensor{})
}

func (m *Model) posGrad() blas.Tensor {
	if !m.AbsPos {
		return blas.Tensor{}
	}
	return m.grad("pos_embed").Reshape(m.Tokens(), m.Width)
}

// blockBackward takes dx, the residual stream's gradient behind block i, and low, the same times the MLP branch's drop path
// factors in compute precision; it leaves both for block i-1.
func (m *Model) blockBackward(i int) {
	b, n := m.blocks[i], blockName(i)
	keep1, keep2 := m.keepOf(i, 0), m.keepOf(i, 1)
	dx, low, dh, du, datt := m.dx, m.low, m.dh, m.du, m.datt
	if b.attR != b.att { // the last block: only the loss's rows carry a gradient here
		dx, low, dh, du, datt = m.dxR, m.lowR, m.dhR, m.duR, m.dattR
	}
	m.linearBackward("fc2", du, low, b.g, b.fc2W, m.grad(n+"mlp.fc2.weight"), m.grad(n+"mlp.fc2.bias"), keep2, blas.GELUGrad, b.u)
	m.linearBackward("fc1", dh, du, b.h2, m.weight(n+"mlp.fc1.weight"), m.grad(n+"mlp.fc1.weight"), m.grad(n+"mlp.fc1.bias"), keep2, blas.Plain, blas.Tensor{})
	m.dev.LayerNormBackward(blas.LayerNormBackward{DX: dx, Accumulate: true, DY: dh, X: b.mid, Mean: b.mean2, Rstd: b.rstd2,
		Weight: m.value(n + "norm2.weight"), DWeight: m.grad(n + "norm2.weight"), DBias: m.grad(n + "norm2.bias"),
		KeepDY: keep2, Low: low, Keep: keep1, RowsPer: m.rowsPer(dx)})
	m.linearBackward("proj", datt, low, b.attR, b.projW, m.grad(n+"attn.proj.weight"), m.grad(n+"attn.proj.bias"), keep1, blas.Plain, blas.Tensor{})
	if b.attR != b.att {
		m.dev.ScatterRows(blas.ScatterRows{Dst: m.datt, Src: datt, Index: m.lossRows})
		m.dev.ScatterRows(blas.ScatterRows{Dst: m.dx, Src: dx, Index: m.lossRows})
	}
	m.dev.AttentionBackward(blas.AttentionBackward{DQKV: m.dqkv, DBias: m.dRelBias, DOut: m.datt, Out: b.att, LSE: b.lse,
		QKV: b.qkv, Bias: m.relBias, Keep: keep1, Heads: m.Heads})
	if i == 0 && m.sharesEntry() {
		return // entryBackward goes on
	}
	m.qkvBackward(i, m.dh, m.dqkv, keep1)
	norm := blas.LayerNormBackward{DX: m.dx, Accumulate: true, DY: m.dh, X: b.x, Mean: b.mean1, Rstd: b.rstd1,
		Weight: m.value(n + "norm1.weight"), DWeight: m.grad(n + "norm1.weight"), DBias: m.grad(n + "norm1.bias"), KeepDY: keep1, RowsPer: m.Tokens()}
	if i > 0 {
		norm.Low, norm.Keep = m.low, m.keepOf(i-1, 1)
	}
	m.dev.LayerNormBackward(norm)
}
