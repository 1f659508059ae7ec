package blastest

import (
	"math"

	"mvptargets/blas"
)

// edgeCases are inputs on which a formula turns: where types round, and where it would divide by 0 or overflow.
func edgeCases() []testCase {
	return []testCase{
		{"cast at bf16's edges", false, squares, func(s *side) {
			up, down := math.Inf(1), math.Inf(-1)
			v := []float64{0, math.Copysign(0, -1), 1, 1 + 1./256, 1 + 3./256, 1 + 1./256 + 1./65536, math.MaxFloat32, -math.MaxFloat32, 3.3895e38, 3.4e38,
				0x1p-126, 0x1p-133, 0x1p-134, 0x1.8p-134, 0x1p-149, up, down, math.NaN()}
			s.dev.Cast(blas.Cast{Dst: s.out("Dst", exact, s.compute, len(v)), Src: s.values(s.master, v, len(v))})
		}},
		{"cast of every f16", false, squares, func(s *side) {
			v := make([]float64, 0, 1<<16)
			for b := range 1 << 16 {
				v = append(v, blas.Decode(blas.F16, []byte{byte(b), byte(b >> 8)})...)
			}
			s.dev.Cast(blas.Cast{Dst: s.out("Dst", exact, s.master, len(v)), Src: s.values(blas.F16, v, len(v))})
		}},
		{"layer norm of constant rows", false, squares, func(s *side) {
			const m, d = 5, 64
			i := -1
			x := s.values(s.master, s.random(m*d, func() float64 { i++; return []float64{0, 1, -3, 1e4, 1e-20}[i/d] }), m, d)
			norm(s, x, false)
		}},
		{"losses of rows of zeros", false, squares, func(s *side) {
			const r, k = 4, 19
			zeroed := func(dt blas.DType, rows ...int) blas.Tensor {
				v := s.random(r*k, s.rng.NormFloat64)
				for _, row := range rows {
					clear(v[row*k : (row+1)*k])
				}
				return s.values(dt, v, r, k)
			}
			losses(s, zeroed(s.compute, 0, 1), zeroed(blas.F16, 1, 2))
		}},
		{"attention to one key far above the others", false, squares, func(s *side) {
			const b, n, heads, d = 2, 19, 2, 8
			i := -1
			bias := s.values(s.master, s.random(heads*n*n, func() float64 {
				i++
				return pick((i/n*7+3)%n == i%n, 100., -100)
			}), heads, n, n)
			attention(s, s.plain(s.compute, b*n, 3*heads*d), bias, b, n, heads)
		}},
	}
}
