package view

import (
	"math"
	"sync"
)

// The filter is Pillow's 8-bit resampling (src/libImaging/Resample.c): a separable cubic convolution with a = -0.5 (Keys 1981),
// widened by the scale when shrinking, its weights normalized and rounded to 22 bits after the point; columns first, the result
// rounded to 8 bits, then rows.
const (
	cubicA        = -0.5
	cubicSupport  = 2.0
	precisionBits = 32 - 8 - 2
)

// source is a box of an RGB image; pixels outside the box do not exist for the filter.
type source struct {
	pix        []uint8
	stride     int // bytes
	x, y, w, h int
}

// taps are the weights of the output positions of one axis: position i reads weight[i*size:][:count[i]] from first[i] on.
type taps struct {
	in, out, at, n int // what it was computed for
	size           int
	first, count   []int
	weight         []int32
	parts          []int16   // of weight, see split
	pairs          int       // of parts, for each position; 0 before split
	real           []float64 // of one position, before rounding
}

// axes are the taps of an image's two axes. They are kept: many photographs have the same size.
type axes struct{ x, y taps }

var axesPool = sync.Pool{New: func() any { return new(axes) }}

func cubic(x float64) float64 {
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((cubicA+2)*x-(cubicA+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * cubicA
	}
	return 0
}

// compute fills t for output positions at to at+n-1 of in pixels resized to out.
func (t *taps) compute(in, out, at, n int) {
	if t.in == in && t.out == out && t.at == at && t.n == n {
		return
	}
	t.in, t.out, t.at, t.n, t.pairs = in, out, at, n, 0
	scale := float64(in) / float64(out)
	widen := math.Max(scale, 1)
	support := cubicSupport * widen
	t.size = int(math.Ceil(support))*2 + 1
	t.first, t.count = grow(t.first, n), grow(t.count, n)
	t.weight = grow(t.weight, n*t.size)
	t.real = grow(t.real, t.size)
	w := t.real
	for i := range n {
		center := (float64(at+i) + 0.5) * scale
		lo := max(int(center-support+0.5), 0)
		hi := min(int(center+support+0.5), in)
		sum := 0.0
		for x := lo; x < hi; x++ {
			w[x-lo] = cubic((float64(x) - center + 0.5) * (1 / widen))
			sum += w[x-lo]
		}
		t.first[i], t.count[i] = lo, hi-lo
		for x := range hi - lo {
			v := w[x]
			if sum != 0 {
				v /= sum
			}
			t.weight[i*t.size+x] = int32(v*(1<<precisionBits) + math.Copysign(0.5, v))
		}
	}
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

var rowsPool = sync.Pool{New: func() any { return new([]uint8) }}

// resize writes the window of w x h pixels at (x0, y0) of src resized to outW x outH into dst, RGB. Only what the window needs is
// computed, which changes no byte.
func resize(dst []uint8, w, h int, src source, outW, outH, x0, y0 int) {
	resizeWith(simd, dst, w, h, src, outW, outH, x0, y0)
}

// resizeWith is resize in vectors (simd.go) or by the plain passes below, which define what is right.
func resizeWith(on level, dst []uint8, w, h int, src source, outW, outH, x0, y0 int) {
	both := axesPool.Get().(*axes)
	defer axesPool.Put(both)
	tx, ty := &both.x, &both.y
	tx.compute(src.w, outW, x0, w)
	ty.compute(src.h, outH, y0, h)
	top := ty.first[0]
	bottom := ty.first[h-1] + ty.count[h-1]

	held := rowsPool.Get().(*[]uint8)
	defer rowsPool.Put(held)
	*held = grow(*held, (bottom-top)*w*3)
	columns := *held
	done := top
	if on != plain && outW != src.w {
		in := src.pix[(src.y+top)*src.stride+3*src.x:]
		done += resizeRowsSIMD(on, columns, in, src.stride, bottom-top, src.w, tx)
	}
	for y := done; y < bottom; y++ {
		in := src.pix[(src.y+y)*src.stride+3*src.x:]
		out := columns[(y-top)*w*3:][:w*3]
		if outW == src.w { // Pillow leaves out a pass that changes nothing
			copy(out, in[3*x0:3*(x0+w)])
		} else {
			resizeRow(out, in, tx)
		}
	}
	if on != plain && outH != src.h {
		resizeColumnsSIMD(on, dst, columns, 3*w, top, ty)
		return
	}
	for y := range h {
		out := dst[y*w*3:][:w*3]
		if outH == src.h {
			copy(out, columns[(y0+y-top)*w*3:][:w*3])
		} else {
			resizeColumn(out, columns[(ty.first[y]-top)*w*3:], ty.weight[y*ty.size:][:ty.count[y]])
		}
	}
}

// resizeRow filters one row of RGB pixels along x.
func resizeRow(out, in []uint8, t *taps) {
	for i, first := range t.first {
		weights := t.weight[i*t.size:][:t.count[i]]
		px := in[3*first:][:3*len(weights)]
		r, g, b := int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1))
		for k, wt := range weights {
			r += int32(px[3*k]) * wt
			g += int32(px[3*k+1]) * wt
			b += int32(px[3*k+2]) * wt
		}
		out[3*i], out[3*i+1], out[3*i+2] = clip8(r), clip8(g), clip8(b)
	}
}

// resizeColumn makes one row of out from len(weights) rows of in.
func resizeColumn(out, in []uint8, weights []int32) {
	n := len(out)
	for i := range out {
		sum := int32(1 << (precisionBits - 1))
		for k, wt := range weights {
			sum += int32(in[k*n+i]) * wt
		}
		out[i] = clip8(sum)
	}
}

func clip8(v int32) uint8 {
	return uint8(max(0, min(255, v>>precisionBits)))
}
