package cpu_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
)

// Leaving samples out changes no bit of the others' rows, and gives the weight gradient of the others alone, whatever the number of threads.
func TestDroppedSamplesChangeNoBit(t *testing.T) {
	const per, n, k = 229, 70, 1701
	factors := []float64{1.25, 0, 1.25, 1.25, 0, 1.25, 1.25, 1.25}
	m, live := len(factors)*per, 6*per
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = r.NormFloat64()
		}
		return v
	}
	x, dy, w := draw(m*k), draw(m*n), draw(n*k)
	others := func(v []float64) (out []float64) { // without the rows of dropped samples
		one := len(v) / len(factors)
		for i, f := range factors {
			if f != 0 {
				out = append(out, v[i*one:(i+1)*one]...)
			}
		}
		return out
	}
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		for _, threads := range []int{1, 2, 3} {
			t.Run(fmt.Sprint(compute, " ", threads), func(t *testing.T) {
				d, err := cpu.New(cpu.Options{Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				set := func(v []float64, shape ...int) blas.Tensor {
					x := d.Alloc("test", compute, shape...)
					blas.Set(d, x, v)
					return x
				}
				product := func(g blas.Gemm, rows, cols int) []float64 {
					g.C = d.Alloc("test", blas.F32, rows, cols)
					d.Gemm(g)
					v, err := blas.Get(d, g.C)
					if err != nil {
						t.Fatal(err)
					}
					return v
				}
				keep := d.Alloc("keep", blas.F32, len(factors))
				blas.Set(d, keep, factors)
				a, b := set(x, m, k), set(w, n, k)
				all := product(blas.Gemm{A: a, B: b, TransB: true}, m, n)
				if !slices.Equal(others(all), others(product(blas.Gemm{A: a, B: b, TransB: true, Keep: keep, RowsPer: per}, m, n))) {
					t.Error("rows of live samples differ")
				}
				for _, wide := range []bool{false, true} {
					g, alone := blas.Gemm{A: set(dy, m, n), B: a}, blas.Gemm{A: set(others(dy), live, n), B: set(others(x), live, k)}
					if wide { // as many rows as columns, or more, are packed the other way round
						g.A, g.B, alone.A, alone.B = g.B, g.A, alone.B, alone.A
					}
					g.TransA, alone.TransA, g.Keep, g.RowsPer = true, true, keep, per
					if rows, cols := g.A.Cols(), g.B.Cols(); !slices.Equal(product(g, rows, cols), product(alone, rows, cols)) {
						t.Error("the weight gradient is not that of the live samples")
					}
				}
			})
		}
	}
}
