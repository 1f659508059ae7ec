package ref

import (
	"math"

	gblas "gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"

	"mvptargets/blas"
)

// Gemm implements blas.Device.
func (d *Device) Gemm(g blas.Gemm) {
	g.Check()
	m, n, _ := g.Dims()
	a, b, out := live(g.A, g.Keep, g.RowsPer), data(g.B), make([]float64, m*n)
	if g.TransA {
		b = live(g.B, g.Keep, g.RowsPer)
	}
	if m > 0 && n > 0 {
		blas64.Gemm(trans(g.TransA), trans(g.TransB), 1, general(g.A, a), general(g.B, b), 0,
			blas64.General{Rows: m, Cols: n, Stride: n, Data: out})
	}
	bias, aux, residual := data(g.Bias), data(g.Aux), data(g.Residual)
	for i := range out {
		r, c := i/n, i%n
		switch g.Epilogue {
		case blas.AddBias:
			out[i] += bias[c]
		case blas.AddBiasGELU:
			aux[i] = g.Aux.DType().Round(out[i] + bias[c])
			out[i] = gelu(aux[i])
		case blas.GELUGrad:
			out[i] *= geluGrad(aux[i])
		case blas.AddResidual:
			factor := keep(g.Keep, r, g.RowsPer)
			if factor == 0 {
				out[i] = residual[i]
				continue
			}
			if bias != nil {
				out[i] += bias[c]
			}
			out[i] = residual[i] + factor*out[i]
		}
	}
	if g.Accumulate {
		add(g.C, out)
	} else {
		store(g.C, out)
	}
	if g.Norm.Y.Ok() {
		d.LayerNorm(g.Norm)
	}
	if g.ColSum.Ok() {
		add(g.ColSum, sumOverK(a, g.A.Cols(), g.TransA, m))
	}
}

func trans(t bool) gblas.Transpose {
	if t {
		return gblas.Trans
	}
	return gblas.NoTrans
}

func general(t blas.Tensor, v []float64) blas64.General {
	return blas64.General{Rows: t.Rows(), Cols: t.Cols(), Stride: max(t.Cols(), 1), Data: v}
}

// sumOverK sums op(A) [m, k] over k; a is A as it lies.
func sumOverK(a []float64, cols int, transA bool, m int) []float64 {
	sum := make([]float64, m)
	for i, x := range a {
		if transA {
			sum[i%cols] += x
		} else {
			sum[i/cols] += x
		}
	}
	return sum
}

// gelu is x·Φ(x); geluGrad is Φ(x) + x·φ(x).
func gelu(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }
func geluGrad(x float64) float64 {
	phi := math.Exp(-x*x/2) / math.Sqrt(2*math.Pi)
	return 0.5*(1+math.Erf(x/math.Sqrt2)) + x*phi
}
