package student

import (
	"math"

	"mvptargets/blas"
)

func sqrt(x float64) float64 { return math.Sqrt(x) }

// Options say how a Model will run: fixed for its life, as the shapes of a captured step are.
type Options struct {
	Compute  blas.DType // F32 or BF16 (F64 on ref)
	Batch    int        // B, samples in one micro-batch
	LossRows int        // patches per sample that the loss sees; 0 builds an encoder without head, loss and backward
	Masked   int        // patches per sample that are masked, the same number in all; 0 where that is not known
	DropPath bool       // batches carry drop path factors
	Loss     Loss
	MicroN   int // micro-batches in one step; the loss is the mean over all of them
}

// Loss chooses the training objective.
type Loss struct {
	Kind string  // "cosine" or "smooth_l1"
	Beta float64 // of smooth_l1
}

// block is what one block keeps from forward to backward. R rows enter the second half: M = B·N, but in the last block of a
// training model only those that the loss sees.
type block struct {
	x, h1        blas.Tensor // [M, D]: the residual stream as it enters, and its norm; h1 of the first block may be an entry's, [E, D]
	mean1, rstd1 blas.Tensor // [M], or likewise
	qkv          blas.Tensor // [M, 3D]
	lse          blas.Tensor // [B, H, N]
	att          blas.Tensor // [M, D]
	attR, xR     blas.Tensor // [R, D]: att and x at the rows that go on; the tensors themselves where all do
	mid, h2      blas.Tensor // [R, D]
	mean2, rstd2 blas.Tensor // [R]
	u, g         blas.Tensor // [R, 4D]: the MLP before and after GELU
	projW, fc2W  blas.Tensor // layer scale folded in, compute
	projB, fc2B  blas.Tensor // likewise, master
}

// Model is a student on a device, with the buffers of one micro-batch. It belongs to one goroutine.
type Model struct {
	Config
	Options
	Params *Params
	dev    blas.Device
	owned  []blas.Tensor

	pixels, mask, lossRows, target, keep blas.Tensor // a micro-batch
	relIndex, relBias, dRelBias          blas.Tensor
	patches, embed                       blas.Tensor
	entry                                entry
	blocks                               []block
	out, hn, meanN, rstdN                blas.Tensor // the last residual stream and its norm [R, D]
	pred, stats, loss                    blas.Tensor

	dx, low, dh, datt, dqkv, du, dpred blas.Tensor // gradients in flight, [M, ..]
	dxR, lowR, dhR, duR, dattR         blas.Tensor // the same at the loss's rows, [R, ..]

	hyper, state, sumsq blas.Tensor
	figures             blas.Tensor // state and loss, read back together
	programs            programs
}

// alloc reserves a tensor that the model owns.
func (m *Model) alloc(name string, t blas.DType, shape ...int) blas.Tensor {
	x := m.dev.Alloc(name, t, shape...)
	m.owned = append(m.owned, x)
	return x
}

// NewModel allocates a student on dev and draws its weights from seed.
func NewModel(dev blas.Device, c Config, o Options, seed uint64) *Model {
	m := &Model{Config: c, Options: o, dev: dev, Params: newParams(dev, c.params(), o.Compute)}
	m.MicroN = max(m.MicroN, 1)
	m.Params.draw(dev, seed)
	master, n, tokens := o.Compute.Master(), o.Batch, c.Tokens()
	m.pixels = m.alloc("pixels", blas.U8, n, c.ImageSize, c.ImageSize, 3)
	m.patches = m.alloc("patches", o.Compute, m.seen(), 3*c.PatchSize*c.PatchSize)
	if c.RelPos {
		m.relIndex = m.alloc("relative position index", blas.I32, tokens, tokens)
		dev.Upload(m.relIndex, blas.Bytes(relPosIndex(c.Grid())))
		m.relBias = m.alloc("relative position bias", master, c.Heads, tokens, tokens)
	}
	if !m.sharesEntry() {
		m.embed = m.alloc("patch embedding", o.Compute, n*c.Patches(), c.Width)
	}
	if o.LossRows > 0 {
		if !m.sharesEntry() {
			m.mask = m.alloc("mask", blas.U8, n, c.Patches())
		}
		m.lossRows = m.alloc("loss rows", blas.I32, n*o.LossRows)
		m.target = m.alloc("targets", blas.F16, n*o.LossRows, c.TargetDim)
		if o.DropPath {
			m.keep = m.alloc("drop path factors", master, 2*c.Depth, n)
		}
	}
	for i := range c.Depth {
		m.blocks = append(m.blocks, m.newBlock(i))
	}
	m.newTail()
	return m
}

func (m *Model) rows() (all, last int) {
	all = m.Batch * m.Tokens()
	if m.LossRows > 0 {
		return all, m.Batch * m.LossRows
	}
	return all, all
}

func (m *Model) newBlock(i int) block {
	master, d, hidden := m.Compute.Master(), m.Width, m.Width*m.MLPRatio
	rows, last := m.rows()
	r, name := rows, blockName(i)
	if i == m.Depth-1 {
		r = last
	}
	enter := rows
	if i == 0 && m.sharesEntry() {
		enter = 2 + m.seen()
	}
	b := block{
		x: m.alloc(name+"x", master, rows, d), h1: m.alloc(name+"h1", m.Compute, enter, d),
		mean1: m.alloc(name+"mean1", master, enter), rstd1: m.alloc(name+"rstd1", master, enter),
		qkv: m.alloc(name+"qkv", m.Compute, rows, 3*d), att: m.alloc(name+"att", m.Compute, rows, d),
		lse: m.alloc(name+"lse", master, m.Batch, m.Heads, m.Tokens()),
		mid: m.alloc(name+"mid", master, r, d), h2: m.alloc(name+"h2", m.Compute, r, d),
		mean2: m.alloc(name+"mean2", master, r), rstd2: m.alloc(name+"rstd2", master, r),
		u: m.alloc(name+"u", m.Compute, r, hidden), g: m.alloc(name+"g", m.Compute, r, hidden),
	}
	b.attR, b.xR = b.att, b.x
	if r != rows {
		b.attR, b.xR = m.alloc(name+"att rows", m.Compute, r, d), m.alloc(name+"x rows", master, r, d)
	}
	p := m.Params
	b.projW, b.projB = p.Of(p.Low, name+"attn.proj.weight"), p.Of(p.Value, name+"attn.proj.bias")
	b.fc2W, b.fc2B = p.Of(p.Low, name+"mlp.fc2.weight"), p.Of(p.Value, name+"mlp.fc2.bias")
	if m.LayerScale > 0 {
		b.projW, b.projB = m.alloc(name+"scaled proj", m.Compute, d, d), m.alloc(name+"scaled proj bias", master, d)
		b.fc2W, b.fc2B = m.alloc(name+"scaled fc2", m.Compute, d, hidden), m.alloc(name+"scaled fc2 bias", master, d)
	}
	return b
}

// newTail allocates what follows the blocks and, for training, the gradients in flight and the optimizer's small state.
func (m *Model) newTail() {
	master, d, hidden := m.Compute.Master(), m.Width, m.Width*m.MLPRatio
	rows, r := m.rows()
	m.out, m.hn = m.alloc("out", master, r, d), m.alloc("final norm", m.Compute, r, d)
	m.meanN, m.rstdN = m.alloc("final mean", master, r), m.alloc("final rstd", master, r)
	if m.LossRows == 0 {
		return
	}
	m.pred, m.dpred = m.alloc("prediction", m.Compute, r, m.TargetDim), m.alloc("d prediction", m.Compute, r, m.TargetDim)
	m.stats = m.alloc("loss stats", master, r, 3)
	m.dx, m.low = m.alloc("dx", master, rows, d), m.alloc("dx in compute precision", m.Compute, rows, d)
	m.dh, m.datt = m.alloc("dh", m.Compute, rows, d), m.alloc("d attention", m.Compute, rows, d)
	m.dqkv, m.du = m.alloc("dqkv", m.Compute, rows, 3*d), m.alloc("du", m.Compute, rows, hidden)
	m.dxR, m.lowR = m.alloc("dx rows", master, r, d), m.low.Slice(0, r)
	m.dhR, m.duR, m.dattR = m.dh.Slice(0, r), m.du.Slice(0, r), m.alloc("d attention rows", m.Compute, r, d)
	if m.sharesEntry() {
		m.entry = m.newEntry()
	}
	if m.RelPos {
		m.dRelBias = m.alloc("d relative position bias", master, m.Heads, m.Tokens(), m.Tokens())
	}
	m.hyper = m.alloc("hyper-parameters", master, blas.HyperLen)
	m.figures = m.alloc("optimizer state and loss", master, blas.StateLen+1)
	m.state, m.loss = m.figures.Slice(0, blas.StateLen), m.figures.Slice(blas.StateLen, blas.StateLen+1)
	m.sumsq = m.alloc("squared gradient norm", master, 1)
}

// Close frees all that the model allocated.
func (m *Model) Close() {
	for _, t := range m.owned {
		m.dev.Free(t)
	}
	m.Params.free(m.dev)
	m.owned = nil
}
