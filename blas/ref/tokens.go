package ref

import "mvptargets/blas"

// Zero implements blas.Device.
func (d *Device) Zero(t blas.Tensor) { clear(data(t)) }

// Cast implements blas.Device.
func (d *Device) Cast(c blas.Cast) {
	c.Check()
	dst, src := data(c.Dst), data(c.Src)
	cols := max(c.Src.Cols(), 1)
	for i, x := range src {
		dst[i] = c.Dst.DType().Round(x * keep(c.Scale, i/cols, c.RowsPer))
	}
}

// Patches implements blas.Device.
func (d *Device) Patches(p blas.Patches) {
	p.Check()
	px, size, k, index := data(p.Pixels), p.Pixels.Dim(1), p.Patch, data(p.Index)
	g := size / k
	for r := range p.Dst.Rows() {
		i := r
		if index != nil {
			i = int(index[r])
		}
		b, gy, gx := i/(g*g), i/g%g, i%g
		out := row(p.Dst, r)
		for i := range out {
			c, y, x := i/(k*k), gy*k+i/k%k, gx*k+i%k
			v := px[((b*size+y)*size+x)*3+c]
			out[i] = p.Dst.DType().Round((v/255 - p.Mean[c]) / p.Std[c])
		}
	}
}

// Tokens implements blas.Device.
func (d *Device) Tokens(t blas.Tokens) {
	t.Check()
	n, width := t.X.Dim(1), t.X.Dim(2)
	x, mask, pos := data(t.X), data(t.Mask), data(t.Pos)
	for r := range t.X.Dim(0) * n {
		b, i := r/n, r%n
		src := data(t.CLS)
		if i > 0 {
			p := b*(n-1) + i - 1
			src = row(t.Embed, p)
			if mask != nil && mask[p] != 0 {
				src = data(t.MaskToken)
			}
		}
		for c, v := range src {
			if pos != nil {
				v += pos[i*width+c]
			}
			x[r*width+c] = t.X.DType().Round(v)
		}
	}
}

// TokensBackward implements blas.Device.
func (d *Device) TokensBackward(t blas.TokensBackward) {
	t.Check()
	n, width := t.DX.Dim(1), t.DX.Dim(2)
	dx, mask := data(t.DX), data(t.Mask)
	dcls, dmask, dpos := make([]float64, width), make([]float64, width), make([]float64, n*width)
	d.Zero(t.DEmbed)
	for r := range t.DX.Dim(0) * n {
		b, i := r/n, r%n
		g := dx[r*width : (r+1)*width]
		p := b*(n-1) + i - 1
		for c, v := range g {
			dpos[i*width+c] += v
			switch {
			case i == 0:
				dcls[c] += v
			case mask != nil && mask[p] != 0:
				dmask[c] += v
			default:
				row(t.DEmbed, p)[c] = t.DEmbed.DType().Round(v)
			}
		}
	}
	add(t.DCLS, dcls)
	add(t.DMaskToken, dmask)
	if t.DPos.Ok() {
		add(t.DPos, dpos)
	}
}

// GatherRows implements blas.Device.
func (d *Device) GatherRows(g blas.GatherRows) {
	g.Check()
	index, terms, dt := data(g.Index), g.Terms(), g.Dst.DType()
	for r := range g.Dst.Rows() {
		dst, from := row(g.Dst, r), index[r*terms:(r+1)*terms]
		for c := range dst {
			sum := row(g.Src, int(from[0]))[c]
			for _, i := range from[1:] {
				sum += row(g.Src, int(i))[c]
			}
			if g.Accumulate {
				sum += dst[c]
			}
			dst[c] = dt.Round(sum)
		}
	}
}

// ScatterRows implements blas.Device.
func (d *Device) ScatterRows(s blas.ScatterRows) {
	s.Check()
	d.Zero(s.Dst)
	for r, i := range data(s.Index) {
		copy(row(s.Dst, int(i)), row(s.Src, r))
	}
}
