package cuda

// #include "api.h"
import "C"

import "mvptargets/blas"

// only panics on types that this device does not have; float64 belongs to ref.
func only(name string, ts ...blas.Tensor) {
	for _, t := range ts {
		if t.Ok() && t.DType() == blas.F64 {
			panic("blas/cuda: " + name + ": no f64 here, use ref")
		}
	}
}

// kernel queues an operation that is one launch.
func (d *Device) kernel(o blas.Op, name string, s shape, args ...any) {
	d.op(o.Name(), func() error { return d.launch(name, s, args...) })
}

// typed names the instance of a kernel for the types of tensors.
func typed(name string, ts ...blas.Tensor) string {
	for _, t := range ts {
		name += "_" + t.DType().String()
	}
	return name
}

func (d *Device) clear(t blas.Tensor) error {
	p, err := address(t)
	if err != nil || t.Bytes() == 0 {
		return err
	}
	return d.check(C.call_cuMemsetD8Async(d.libs.cuda, p, 0, C.size_t(t.Bytes()), d.compute), "cuMemsetD8Async")
}

// Zero implements blas.Device.
func (d *Device) Zero(t blas.Tensor) { d.op("zero", func() error { return d.clear(t) }) }

// Cast implements blas.Device.
func (d *Device) Cast(c blas.Cast) {
	c.Check()
	only(c.Name(), c.Dst, c.Src)
	d.kernel(c, typed("cast", c.Dst, c.Src), d.flat(c.Src.Len()), c.Dst, c.Src, c.Scale, int64(c.Src.Len()), max(c.Src.Cols(), 1), max(c.RowsPer, 1))
}

// Patches implements blas.Device.
func (d *Device) Patches(p blas.Patches) {
	p.Check()
	only(p.Name(), p.Dst)
	f := func(x float64) float32 { return float32(x) }
	d.kernel(p, typed("patches", p.Dst), shape{grid: [3]int{p.Dst.Rows()}, block: threads}, p.Dst, p.Pixels, p.Index, p.Pixels.Dim(1), p.Patch,
		f(p.Mean[0]), f(p.Mean[1]), f(p.Mean[2]), f(p.Std[0]), f(p.Std[1]), f(p.Std[2]))
}

// Tokens implements blas.Device.
func (d *Device) Tokens(t blas.Tokens) {
	t.Check()
	only(t.Name(), t.X)
	rows := t.X.Dim(0) * t.X.Dim(1)
	d.kernel(t, typed("tokens", t.Embed), rowsOf(rows), t.X, t.Embed, t.CLS, t.MaskToken, t.Pos, t.Mask, rows, t.X.Dim(1), t.X.Dim(2))
}

// TokensBackward implements blas.Device.
func (d *Device) TokensBackward(t blas.TokensBackward) {
	t.Check()
	only(t.Name(), t.DX)
	images, n, width := t.DX.Dim(0), t.DX.Dim(1), t.DX.Dim(2)
	d.op(t.Name(), func() error {
		partial, err := d.scratch("tokens", 4*n*width)
		if err != nil {
			return err
		}
		s := shape{grid: [3]int{n, ceil(width, threads)}, block: threads}
		if err := d.launch(typed("tokens_backward", t.DEmbed), s, t.DEmbed, t.DCLS, t.DPos, partial, t.DX, t.Mask, images, n, width); err != nil {
			return err
		}
		return d.addRows(t.DMaskToken, blas.Tensor{}, partial, n-1, width, 0)
	})
}

// GatherRows implements blas.Device.
func (d *Device) GatherRows(g blas.GatherRows) {
	g.Check()
	rows, terms, width := g.Dst.Rows(), g.Terms(), g.Src.Cols()
	if g.Copies() {
		d.kernel(g, "gather_rows", rowsOf(rows), g.Dst, g.Src, g.Index, rows, width*g.Src.DType().Size())
		return
	}
	only(g.Name(), g.Src)
	d.op(g.Name(), func() error {
		parts := min(terms, 64)
		partial, err := d.scratch("sums of rows", 4*rows*parts*width)
		if err != nil {
			return err
		}
		s := shape{grid: [3]int{ceil(width, threads), parts, rows}, block: threads}
		if err := d.launch(typed("column_sums", g.Src), s, partial, g.Src, g.Index, terms, width); err != nil {
			return err
		}
		s.grid = [3]int{ceil(width, threads), rows}
		return d.launch(typed("finish_rows", g.Dst), s, g.Dst, partial, parts, width, flag(g.Accumulate))
	})
}

// ScatterRows implements blas.Device.
func (d *Device) ScatterRows(s blas.ScatterRows) {
	s.Check()
	d.op(s.Name(), func() error {
		if err := d.clear(s.Dst); err != nil {
			return err
		}
		return d.launch("scatter_rows", rowsOf(s.Index.Len()), s.Dst, s.Src, s.Index, s.Index.Len(), s.Src.Cols()*s.Src.DType().Size())
	})
}

// LayerNorm implements blas.Device.
func (d *Device) LayerNorm(l blas.LayerNorm) {
	l.Check()
	only(l.Name(), l.X)
	d.op(l.Name(), func() error { return d.layerNorm(l) })
}

func (d *Device) layerNorm(l blas.LayerNorm) error {
	return d.launch(typed("layer_norm", l.Y), rowsOf(l.X.Rows()), l.Y, l.Mean, l.Rstd, l.X, l.Weight, l.Bias, l.X.Rows(), l.X.Cols(), float32(l.Eps))
}

// LayerNormBackward implements blas.Device.
func (d *Device) LayerNormBackward(l blas.LayerNormBackward) {
	l.Check()
	only(l.Name(), l.X)
	m, width := l.X.Rows(), l.X.Cols()
	d.op(l.Name(), func() error {
		warps := max(1, min(8, d.gpu.sharedMemory/2/(8*width))) // two blocks a multiprocessor
		blocks := min(ceil(m, warps), 2*d.gpu.Processors)
		partial, err := d.scratch("norm", 8*blocks*width)
		if err != nil {
			return err
		}
		s := shape{grid: [3]int{blocks}, block: 32 * warps, shared: warps * 8 * width}
		if err := d.launch(typed("layer_norm_backward", l.DY), s, l.DX, l.Low, partial, l.DY, l.X, l.Mean, l.Rstd, l.Weight, l.Keep, l.KeepDY,
			m, width, flag(l.Accumulate), max(l.RowsPer, 1)); err != nil {
			return err
		}
		return d.addRows(l.DWeight, l.DBias, partial, blocks, width, width)
	})
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sums is the dynamic shared memory of block_sum.
const sums = 4 * 32

// LayerScale implements blas.Device.
func (d *Device) LayerScale(l blas.LayerScale) {
	l.Check()
	only(l.Name(), l.Weight)
	d.kernel(l, typed("layer_scale", l.ScaledWeight), shape{grid: [3]int{l.Weight.Rows()}, block: threads},
		l.ScaledWeight, l.ScaledBias, l.Weight, l.Bias, l.Gamma, l.Weight.Cols())
}

// LayerScaleBackward implements blas.Device.
func (d *Device) LayerScaleBackward(l blas.LayerScaleBackward) {
	l.Check()
	only(l.Name(), l.Weight)
	d.kernel(l, "layer_scale_backward", shape{grid: [3]int{l.Weight.Rows()}, block: threads, shared: sums},
		l.DWeight, l.DBias, l.DGamma, l.Weight, l.Bias, l.Gamma, l.Weight.Cols())
}

// RelPosBias implements blas.Device.
func (d *Device) RelPosBias(r blas.RelPosBias) {
	r.Check()
	only(r.Name(), r.Bias)
	d.kernel(r, "relpos_bias", shape{grid: [3]int{ceil(r.Index.Len(), threads)}, block: threads}, r.Bias, r.Table, r.Index, r.Bias.Dim(0), r.Index.Len())
}

// RelPosBiasBackward implements blas.Device.
func (d *Device) RelPosBiasBackward(r blas.RelPosBiasBackward) {
	r.Check()
	only(r.Name(), r.DBias)
	d.kernel(r, "relpos_bias_backward", shape{grid: [3]int{r.DTable.Rows(), ceil(r.DBias.Dim(0), 8)}, block: threads, shared: sums},
		r.DTable, r.DBias, r.Index, r.DBias.Dim(0), r.Index.Len())
}
