package student

import (
	"slices"

	"mvptargets/blas"
)

// entry is what enters the first block where no absolute position tells masked patches apart: the class token and the mask token, one row
// each for all samples, then the patches that are seen, E = 2 + B·(P-Masked) rows. Their norm, q, k and v are computed once and spread to the
// tokens; backward, the gradients of tokens that are alike are summed first. Masked patches are not embedded.
type entry struct {
	x          blas.Tensor // [E, D], master; absent where every token has a row of its own
	qkv        blas.Tensor // [E, 3D], compute, in dqkv's memory, which is free until backward
	dqkv       blas.Tensor // [E, 3D], compute, in the first block's qkv, which is free behind its attention's backward
	dx         blas.Tensor // [E-2, D], master, of the patches, in the first block's x, which is free by then as well
	index      blas.Tensor // those below, end to end
	patches    blas.Tensor // [E-2], I32: of each patch that is seen its number b·P+i
	tokens     blas.Tensor // [E-2]: its token b·N+1+i
	cls, masks blas.Tensor // [1, B] and [1, B·Masked]: the tokens that are the class token and the mask token
	spread     blas.Tensor // [B·N]: of each token its row of x
}

// sharesEntry says whether the model has an entry.
func (m *Model) sharesEntry() bool { return m.LossRows > 0 && m.Masked > 0 && !m.AbsPos }

// seen is the number of patches that are embedded in a micro-batch.
func (m *Model) seen() int {
	if m.sharesEntry() {
		return m.Batch * (m.Patches() - m.Masked)
	}
	return m.Batch * m.Patches()
}

func (m *Model) newEntry() entry {
	b, seen, tokens := m.Batch, m.seen(), m.Batch*m.Tokens()
	first, masks := m.blocks[0], b*m.Masked
	m.embed = m.low.Slice(0, seen) // both the embedding and its gradient, which low is free for
	e := entry{x: m.alloc("entry", m.Compute.Master(), 2+seen, m.Width), qkv: m.dqkv.Slice(0, 2+seen), dqkv: first.qkv.Slice(0, 2+seen),
		dx: first.x.Slice(0, seen), index: m.alloc("entry index", blas.I32, 2*seen+b+masks+tokens)}
	at := 0
	next := func(n int) blas.Tensor { at += n; return e.index.Slice(at-n, at) }
	e.patches, e.tokens, e.cls, e.masks, e.spread = next(seen), next(seen), next(b).Reshape(1, b), next(masks).Reshape(1, masks), next(tokens)
	return e
}

// entryIndex is an entry's index for masks [B, P].
func (m *Model) entryIndex(mask []uint8) []int32 {
	spread := make([]int32, m.Batch*m.Tokens())
	var patches, tokens, cls, masks []int32
	for b := range m.Batch {
		cls = append(cls, int32(b*m.Tokens()))
	}
	for i, masked := range mask {
		token := int32(i + i/m.Patches() + 1)
		if masked != 0 {
			spread[token], masks = 1, append(masks, token)
			continue
		}
		spread[token] = int32(2 + len(patches))
		patches, tokens = append(patches, int32(i)), append(tokens, token)
	}
	return slices.Concat(patches, tokens, cls, masks, spread)
}

// specialTokens is the class token and the mask token in a flat buffer, [2, D].
func (m *Model) specialTokens(buffer blas.Tensor) blas.Tensor {
	at := m.Params.find("cls_token").at
	return buffer.Slice(at, at+2*m.Width).Reshape(2, m.Width)
}

// enter fills the entry and spreads it to the first block's x, the residual stream.
func (m *Model) enter() {
	e := m.entry
	m.dev.Cast(blas.Cast{Dst: e.x.Slice(0, 2), Src: m.specialTokens(m.Params.Value)})
	m.embedPatches()
	m.dev.Cast(blas.Cast{Dst: e.x.Slice(2, e.x.Rows()), Src: m.embed})
	m.dev.GatherRows(blas.GatherRows{Dst: m.blocks[0].x, Src: e.x, Index: e.spread})
}

// gather sums src's rows, one a token, over the tokens that are alike: special [2, ..] receives those of the class and of the mask token, or
// += them, patches [E-2, ..] the others.
func (m *Model) gather(special, patches, src blas.Tensor, accumulate bool) {
	e := m.entry
	m.dev.GatherRows(blas.GatherRows{Dst: special.Slice(0, 1), Src: src, Index: e.cls, Accumulate: accumulate})
	m.dev.GatherRows(blas.GatherRows{Dst: special.Slice(1, 2), Src: src, Index: e.masks, Accumulate: accumulate})
	m.dev.GatherRows(blas.GatherRows{Dst: patches, Src: src, Index: e.tokens})
}

// entryBackward goes on from the first block's dqkv and dx to the gradients of qkv, norm, tokens and patch embedding. A special token's gradient
// is its dx: that of the residual stream, then the norm's.
func (m *Model) entryBackward() {
	e, b, n, rows := m.entry, m.blocks[0], blockName(0), m.entry.x.Rows()
	special := m.specialTokens(m.Params.Grad)
	m.gather(e.dqkv.Slice(0, 2), e.dqkv.Slice(2, rows), m.dqkv, false)
	m.gather(special, e.dx, m.dx, true)
	dh := m.dh.Slice(0, rows)
	m.qkvBackward(0, dh, e.dqkv, blas.Tensor{})
	norm := func(dx, low blas.Tensor, lo, hi int) {
		m.dev.LayerNormBackward(blas.LayerNormBackward{DX: dx, Accumulate: true, DY: dh.Slice(lo, hi), X: e.x.Slice(lo, hi),
			Mean: b.mean1.Slice(lo, hi), Rstd: b.rstd1.Slice(lo, hi), Weight: m.value(n + "norm1.weight"),
			DWeight: m.grad(n + "norm1.weight"), DBias: m.grad(n + "norm1.bias"), Low: low})
	}
	norm(special, blas.Tensor{}, 0, 2)
	norm(e.dx, m.embed, 2, rows)
	m.embedBackward()
}
