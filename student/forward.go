package student

import "mvptargets/blas"

// Pixels are normalized with ImageNet's statistics, as BEiT's student does and timm's data configuration says.
var (
	ImageNetMean = [3]float64{0.485, 0.456, 0.406}
	ImageNetStd  = [3]float64{0.229, 0.224, 0.225}
)

// NormEps is the epsilon of every layer norm, as in BEiT and timm.
const NormEps = 1e-6

// weight is parameter name as matrix products take it; value and grad are its master copy and its gradient.
func (m *Model) weight(name string) blas.Tensor { return m.Params.Of(m.Params.Low, name) }
func (m *Model) value(name string) blas.Tensor  { return m.Params.Of(m.Params.Value, name) }
func (m *Model) grad(name string) blas.Tensor   { return m.Params.Of(m.Params.Grad, name) }

// qkvBias is q's bias, zeros and v's bias as one vector [3D] of one of the flat buffers.
func (m *Model) qkvBias(buffer blas.Tensor, block string) blas.Tensor {
	at := m.Params.find(block + "attn.q_bias").at
	return buffer.Slice(at, at+3*m.Width)
}

// Refresh recomputes what depends on the parameters alone: their compute copy after an upload, the folded layer scale and the
// relative position bias. Once after loading weights and at the start of every step.
func (m *Model) Refresh() {
	p := m.Params
	if p.Low != p.Value {
		m.dev.Cast(blas.Cast{Dst: p.Low, Src: p.Value})
	}
	m.fold()
}

// fold is Refresh for parameters whose compute copy the optimizer has just written.
func (m *Model) fold() {
	if m.RelPos {
		m.dev.RelPosBias(blas.RelPosBias{Bias: m.relBias, Table: m.value("rel_pos_bias.relative_position_bias_table"), Index: m.relIndex})
	}
	if m.LayerScale == 0 {
		return
	}
	for i, b := range m.blocks {
		n := blockName(i)
		m.dev.LayerScale(blas.LayerScale{ScaledWeight: b.projW, ScaledBias: b.projB,
			Weight: m.value(n + "attn.proj.weight"), Bias: m.value(n + "attn.proj.bias"), Gamma: m.value(n + "gamma_1")})
		m.dev.LayerScale(blas.LayerScale{ScaledWeight: b.fc2W, ScaledBias: b.fc2B,
			Weight: m.value(n + "mlp.fc2.weight"), Bias: m.value(n + "mlp.fc2.bias"), Gamma: m.value(n + "gamma_2")})
	}
}

// forward runs the encoder on the uploaded micro-batch; in a training model the last block's second half, the final norm
// and the head see the loss's rows only, since nothing else reaches the loss.
func (m *Model) forward() {
	if m.sharesEntry() {
		m.enter()
	} else {
		m.enterAll()
	}
	m.dev.LayerNorm(m.normInto(0))
	for i := range m.blocks {
		m.blockForward(i)
	}
}

// embedPatches is the patch embedding, of the patches that are seen.
func (m *Model) embedPatches() {
	m.dev.Patches(blas.Patches{Dst: m.patches, Pixels: m.pixels, Index: m.entry.patches, Patch: m.PatchSize, Mean: ImageNetMean, Std: ImageNetStd})
	m.dev.Gemm(blas.Gemm{Label: "patch embedding", C: m.embed, A: m.patches, B: m.weight("patch_embed.proj.weight"), TransB: true,
		Epilogue: blas.AddBias, Bias: m.value("patch_embed.proj.bias")})
}

// enterAll fills the first block's x with a row for each token.
func (m *Model) enterAll() {
	m.embedPatches()
	tokens := blas.Tokens{X: m.blocks[0].x.Reshape(m.Batch, m.Tokens(), m.Width), Embed: m.embed,
		CLS: m.value("cls_token"), MaskToken: m.value("mask_token"), Mask: m.mask}
	if m.AbsPos {
		tokens.Pos = m.value("pos_embed").Reshape(m.Tokens(), m.Width)
	}
	m.dev.Tokens(tokens)
}

// normInto is the layer norm that block i begins with, or, for i = Depth, the final one: of the residual stream, its X.
func (m *Model) normInto(i int) blas.LayerNorm {
	if i == m.Depth {
		return blas.LayerNorm{Y: m.hn, Mean: m.meanN, Rstd: m.rstdN, X: m.out,
			Weight: m.value("norm.weight"), Bias: m.value("norm.bias"), Eps: NormEps}
	}
	b, n := m.blocks[i], blockName(i)
	x := b.x
	if i == 0 && m.sharesEntry() {
		x = m.entry.x
	}
	return blas.LayerNorm{Y: b.h1, Mean: b.mean1, Rstd: b.rstd1, X: x,
		Weight: m.value(n + "norm1.weight"), Bias: m.value(n + "norm1.bias"), Eps: NormEps}
}

// keepOf is the drop path factors of branch 0 (attention) or 1 (MLP) of block i, [B]; absent without drop path.
func (m *Model) keepOf(i, branch int) blas.Tensor {
	if !m.keep.Ok() {
		return blas.Tensor{}
	}
	return m.keep.Slice(2*i+branch, 2*i+branch+1).Flat()
}

// rowsPer is the number of rows of one sample in a [rows, ..] tensor.
func (m *Model) rowsPer(t blas.Tensor) int { return t.Rows() / m.Batch }

// blockForward is x + keep·proj(attention(norm1(x))), then + keep·fc2(gelu(fc1(norm2(.)))), each sum with the norm of what follows; norm1
// was done with what came before.
func (m *Model) blockForward(i int) {
	b, n, next := m.blocks[i], blockName(i), m.normInto(i+1)
	keep1, keep2 := m.keepOf(i, 0), m.keepOf(i, 1)
	qkv := blas.Gemm{Label: "qkv", C: b.qkv, A: b.h1, B: m.weight(n + "attn.qkv.weight"), TransB: true,
		Epilogue: blas.AddBias, Bias: m.qkvBias(m.Params.Value, n), Keep: keep1, RowsPer: m.Tokens()}
	if i == 0 && m.sharesEntry() { // its rows are no sample's
		qkv.C, qkv.Keep = m.entry.qkv, blas.Tensor{}
		m.dev.Gemm(qkv)
		m.dev.GatherRows(blas.GatherRows{Dst: b.qkv, Src: qkv.C, Index: m.entry.spread})
	} else {
		m.dev.Gemm(qkv)
	}
	m.dev.Attention(blas.Attention{Out: b.att, LSE: b.lse, QKV: b.qkv, Bias: m.relBias, Keep: keep1, Heads: m.Heads})
	if b.attR != b.att {
		m.dev.GatherRows(blas.GatherRows{Dst: b.attR, Src: b.att, Index: m.lossRows})
		m.dev.GatherRows(blas.GatherRows{Dst: b.xR, Src: b.x, Index: m.lossRows})
	}
	m.dev.Gemm(blas.Gemm{Label: "proj", C: b.mid, A: b.attR, B: b.projW, TransB: true, Epilogue: blas.AddResidual,
		Bias: b.projB, Residual: b.xR, Keep: keep1, RowsPer: m.rowsPer(b.mid),
		Norm: blas.LayerNorm{Y: b.h2, Mean: b.mean2, Rstd: b.rstd2, X: b.mid,
			Weight: m.value(n + "norm2.weight"), Bias: m.value(n + "norm2.bias"), Eps: NormEps}})
	m.dev.Gemm(blas.Gemm{Label: "fc1", C: b.g, A: b.h2, B: m.weight(n + "mlp.fc1.weight"), TransB: true,
		Epilogue: blas.AddBiasGELU, Bias: m.value(n + "mlp.fc1.bias"), Aux: b.u, Keep: keep2, RowsPer: m.rowsPer(b.u)})
	m.dev.Gemm(blas.Gemm{Label: "fc2", C: next.X, A: b.g, B: b.fc2W, TransB: true, Epilogue: blas.AddResidual,
		Bias: b.fc2B, Residual: b.mid, Keep: keep2, RowsPer: m.rowsPer(next.X), Norm: next})
}

// head predicts the targets at the loss's rows.
func (m *Model) head() {
	m.dev.Gemm(blas.Gemm{Label: "head", C: m.pred, A: m.hn, B: m.weight("target_head.weight"), TransB: true,
		Epilogue: blas.AddBias, Bias: m.value("target_head.bias")})
}

// lossForward predicts the targets at the loss's rows and adds the loss.
func (m *Model) lossForward() {
	m.head()
	if m.Loss.Kind == "smooth_l1" {
		m.dev.SmoothL1Loss(blas.SmoothL1Loss{Loss: m.loss, Pred: m.pred, Target: m.target, Beta: m.Loss.Beta, Scale: m.lossScale()})
		return
	}
	m.dev.CosineLoss(blas.CosineLoss{Loss: m.loss, Stats: m.stats, Pred: m.pred, Target: m.target, Scale: m.lossScale()})
}

// lossScale makes the loss the mean over the rows (cosine) or elements (smooth L1) of a whole step.
func (m *Model) lossScale() float64 {
	n := float64(m.pred.Rows() * m.MicroN)
	if m.Loss.Kind == "smooth_l1" {
		n *= float64(m.TargetDim)
	}
	return 1 / n
}
