package main

import "mvptargets/blas"

// book is a blas.Device that computes nothing: it books what each operation costs and what is allocated.
type book struct {
	card  card
	rows  map[string]*row
	bytes map[string]int // allocated, by name
}

// row is what one name came to in a step.
type row struct {
	name         string
	calls        int
	flops, bytes float64 // as the operation counts them
	executed     float64 // operations, with what kernels do besides and what fills up tiles
	shared       float64 // bytes of shared memory read and written, of kernels that it may hold up
}

func newBook(c card) *book { return &book{c, map[string]*row{}, map[string]int{}} }

func (b *book) add(name string, c blas.Cost) *row {
	r := b.rows[name]
	if r == nil {
		r = &row{name: name}
		b.rows[name] = r
	}
	r.calls++
	r.flops += float64(c.FLOPs)
	r.executed += float64(c.FLOPs)
	r.bytes += float64(c.Bytes)
	return r
}

func (b *book) op(o blas.Op) { b.add(o.Name(), o.Cost()) }

func (b *book) Alloc(name string, t blas.DType, shape ...int) blas.Tensor {
	x := blas.NewTensor(b, t, shape...)
	b.bytes[name] += x.Bytes()
	return x
}

func (b *book) Upload(dst blas.Tensor, _ []byte) {
	b.add("upload", blas.Cost{Bytes: 3 * int64(dst.Bytes())}) // into staging memory, then from there to its tensor
}

// droppedRows is the share of samples that MVP's recipe drops: a rate of 0.1 in the last block, rising from 0.
const droppedRows = 0.05

// dropped is the bytes of tensors that belong to dropped samples, where there are factors.
func dropped(keep blas.Tensor, ts ...blas.Tensor) (bytes int64) {
	for _, t := range ts {
		bytes += int64(shareOf(keep) * float64(t.Bytes()))
	}
	return bytes
}

func shareOf(keep blas.Tensor) float64 {
	if keep.Ok() {
		return droppedRows
	}
	return 0
}

// Gemm books a product and its layer norm, which is another kernel's. With drop path that kernel gives the rows of dropped samples their
// residual back, and one before the product prepares its scalars.
func (b *book) Gemm(o blas.Gemm) {
	dropPath := o.Epilogue == blas.AddResidual && o.Keep.Ok()
	if norm := o.Norm; norm.Y.Ok() {
		o.Norm = blas.LayerNorm{}
		c := norm.Cost()
		if dropPath {
			c.Bytes += dropped(o.Keep, o.C)
			b.add("drop path scales", blas.Cost{Bytes: int64(o.Keep.Bytes() + 2*o.Bias.Bytes())})
		}
		b.add(norm.Name(), c)
	}
	b.op(o)
}

// attend books a kernel of attention's that makes so many products of each 16 queries by 16 keys, the last ones filled up, and reads and writes
// so many KiB of shared memory for them: half a KiB each matrix load, the rest as the kernel's comment says. Dropped samples are left out.
func (b *book) attend(name string, c blas.Cost, qkv, lse, keep blas.Tensor, products, kib float64) {
	strips := (lse.Dim(2) + 15) / 16
	tiles := float64(lse.Dim(0)*lse.Dim(1)*strips*strips) * (1 - shareOf(keep))
	r := b.add(name, c)
	r.executed += products*tiles*2*16*16*float64(qkv.Cols()/3/lse.Dim(1)) - float64(c.FLOPs)
	r.shared += kib * 1024 * tiles
}

// Attention books what the CUDA device reads and writes: nothing is read of dropped samples.
func (b *book) Attention(o blas.Attention) {
	c := o.Cost()
	c.Bytes -= dropped(o.Keep, o.QKV, o.LSE)
	b.attend(o.Name(), c, o.QKV, o.LSE, o.Keep, 2, 5)
}

// AttentionBackward books one kernel, and the one that lays out its bias, where a block can hold a head with the sums of its bias (blas/cuda,
// attention.go). Elsewhere it books two, which make two products more and read two operands twice.
func (b *book) AttentionBackward(o blas.AttentionBackward) {
	n, c := o.LSE.Dim(2), o.Cost()
	c.Bytes -= dropped(o.Keep, o.QKV, o.DOut, o.Out, o.LSE)
	if 63232+512*((n+15)/16)*((n+7)/8) <= b.card.block {
		b.add(o.Name(), blas.Cost{Bytes: 2 * int64(o.Bias.Bytes())})
		b.attend(o.Name(), c, o.QKV, o.LSE, o.Keep, 5, 12.5)
		return
	}
	b.attend(o.Name(), c, o.QKV, o.LSE, o.Keep, 3, 13)
	again := int64(o.QKV.Bytes()+o.DOut.Bytes()) - dropped(o.Keep, o.QKV, o.DOut)
	b.attend(o.Name(), blas.Cost{Bytes: again}, o.QKV, o.LSE, o.Keep, 4, 14)
}

// LayerNormBackward books a kernel that in the rows of dropped samples reads dx alone and leaves it as it is.
func (b *book) LayerNormBackward(o blas.LayerNormBackward) {
	c := o.Cost()
	c.Bytes -= dropped(o.KeepDY, o.DY, o.X)
	if o.Accumulate {
		c.Bytes -= dropped(o.KeepDY, o.DX)
	}
	b.add(o.Name(), c)
}

func (b *book) Zero(t blas.Tensor) { b.add("zero", blas.Cost{Bytes: int64(t.Bytes())}) }

func (b *book) Info() blas.Info                                  { return blas.Info{Name: "book"} }
func (b *book) Free(blas.Tensor)                                 {}
func (b *book) Live() []blas.Allocation                          { return nil }
func (b *book) Download([]byte, blas.Tensor) error               { return nil }
func (b *book) Fetch([]byte, blas.Tensor) func() error           { return func() error { return nil } }
func (b *book) Sync() error                                      { return nil }
func (b *book) Record(_ string, issue func()) blas.Program       { return blas.Replay(issue) }
func (b *book) Close() error                                     { return nil }
func (b *book) Cast(o blas.Cast)                                 { b.op(o) }
func (b *book) Patches(o blas.Patches)                           { b.op(o) }
func (b *book) Tokens(o blas.Tokens)                             { b.op(o) }
func (b *book) TokensBackward(o blas.TokensBackward)             { b.op(o) }
func (b *book) GatherRows(o blas.GatherRows)                     { b.op(o) }
func (b *book) ScatterRows(o blas.ScatterRows)                   { b.op(o) }
func (b *book) LayerNorm(o blas.LayerNorm)                       { b.op(o) }
func (b *book) LayerScale(o blas.LayerScale)                     { b.op(o) }
func (b *book) LayerScaleBackward(o blas.LayerScaleBackward)     { b.op(o) }
func (b *book) RelPosBias(o blas.RelPosBias)                     { b.op(o) }
func (b *book) RelPosBiasBackward(o blas.RelPosBiasBackward)     { b.op(o) }
func (b *book) CosineLoss(o blas.CosineLoss)                     { b.op(o) }
func (b *book) CosineLossBackward(o blas.CosineLossBackward)     { b.op(o) }
func (b *book) SmoothL1Loss(o blas.SmoothL1Loss)                 { b.op(o) }
func (b *book) SmoothL1LossBackward(o blas.SmoothL1LossBackward) { b.op(o) }
func (b *book) SumSquares(o blas.SumSquares)                     { b.op(o) }
func (b *book) PrepareStep(o blas.PrepareStep)                   { b.op(o) }
func (b *book) AdamW(o blas.AdamW)                               { b.op(o) }
func (b *book) EMA(o blas.EMA)                                   { b.op(o) }
