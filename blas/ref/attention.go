package ref

import (
	"math"

	"mvptargets/blas"
)

// head reads q, k, v of sample b and head h out of QKV, or writes their gradients: which = 0, 1, 2.
type head struct {
	qkv   blas.Tensor
	n, d  int // tokens, width of one head
	first int // QKV's row of the sample's first token
	col   int // column of the head within q, k or v
}

func newHead(qkv blas.Tensor, b, h, n, heads int) head {
	d := qkv.Cols() / 3 / heads
	return head{qkv, n, d, b * n, h * d}
}

func (h head) row(which, i int) []float64 {
	start := which*h.qkv.Cols()/3 + h.col
	return row(h.qkv, h.first+i)[start : start+h.d]
}

// scores is S = q·kᵀ·scale + bias, [n, n].
func (h head) scores(scale float64, bias []float64) []float64 {
	s := make([]float64, h.n*h.n)
	for i := range h.n {
		for j := range h.n {
			s[i*h.n+j] = dot(h.row(0, i), h.row(1, j)) * scale
			if bias != nil {
				s[i*h.n+j] += bias[i*h.n+j]
			}
		}
	}
	return s
}

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// headBias is head h's [n, n] part of a bias or its gradient; nil where there is none.
func headBias(bias blas.Tensor, h, n int) []float64 {
	if !bias.Ok() {
		return nil
	}
	return data(bias)[h*n*n : (h+1)*n*n]
}

// Attention implements blas.Device.
func (d *Device) Attention(a blas.Attention) {
	a.Check()
	n := a.LSE.Dim(2)
	lse := data(a.LSE)
	for bh := range a.LSE.Dim(0) * a.Heads {
		b, h := bh/a.Heads, bh%a.Heads
		in := newHead(a.QKV, b, h, n, a.Heads)
		if keep(a.Keep, b, 1) == 0 {
			for i := range n {
				clear(row(a.Out, in.first+i)[in.col : in.col+in.d])
			}
			continue
		}
		s := in.scores(a.Scale(), headBias(a.Bias, h, n))
		for i := range n {
			l := logSumExp(s[i*n : (i+1)*n])
			lse[bh*n+i] = a.LSE.DType().Round(l)
			out := make([]float64, in.d)
			for j := range n {
				p := math.Exp(s[i*n+j] - l)
				for c, v := range in.row(2, j) {
					out[c] += p * v
				}
			}
			dst := row(a.Out, in.first+i)[in.col : in.col+in.d]
			for c, v := range out {
				dst[c] = a.Out.DType().Round(v)
			}
		}
	}
}

func logSumExp(s []float64) float64 {
	top := math.Inf(-1)
	for _, v := range s {
		top = math.Max(top, v)
	}
	var sum float64
	for _, v := range s {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

// AttentionBackward implements blas.Device.
func (d *Device) AttentionBackward(a blas.AttentionBackward) {
	a.Check()
	n := a.LSE.Dim(2)
	dbias := make([]float64, a.DBias.Len())
	for bh := range a.LSE.Dim(0) * a.Heads {
		b, h := bh/a.Heads, bh%a.Heads
		if keep(a.Keep, b, 1) == 0 {
			clear(data(a.DQKV.Slice(b*n, (b+1)*n)))
			continue
		}
		var db []float64
		if a.DBias.Ok() {
			db = dbias[h*n*n : (h+1)*n*n]
		}
		attentionHeadBackward(a, b, h, n, db)
	}
	if a.DBias.Ok() {
		add(a.DBias, dbias)
	}
}

// attentionHeadBackward is one sample and head; it adds its dS into dbias.
func attentionHeadBackward(a blas.AttentionBackward, b, h, n int, dbias []float64) {
	in := newHead(a.QKV, b, h, n, a.Heads)
	grad := newHead(a.DQKV, b, h, n, a.Heads)
	scale := a.Scale()
	s := in.scores(scale, headBias(a.Bias, h, n))
	lse := data(a.LSE)[(b*a.Heads+h)*n:]
	dq, dk, dv := make([]float64, n*in.d), make([]float64, n*in.d), make([]float64, n*in.d)
	for i := range n {
		dout := row(a.DOut, in.first+i)[in.col : in.col+in.d]
		delta := dot(dout, row(a.Out, in.first+i)[in.col:in.col+in.d])
		for j := range n {
			p := math.Exp(s[i*n+j] - lse[i])
			ds := p * (dot(dout, in.row(2, j)) - delta)
			if dbias != nil {
				dbias[i*n+j] += ds
			}
			q, k := in.row(0, i), in.row(1, j)
			for c := range in.d {
				dq[i*in.d+c] += ds * k[c] * scale
				dk[j*in.d+c] += ds * q[c] * scale
				dv[j*in.d+c] += p * dout[c]
			}
		}
	}
	for which, g := range [][]float64{dq, dk, dv} {
		for i := range n {
			dst := grad.row(which, i)
			for c := range dst {
				dst[c] = a.DQKV.DType().Round(g[i*in.d+c])
			}
		}
	}
}
