package blastest

import (
	"fmt"
	"slices"
	"testing"

	"mvptargets/blas"
)

// testCase builds tensors and issues operations on one side.
type testCase struct {
	name   string
	poison bool // NaN and infinity pass through as on the reference
	span   span
	run    func(*side)
}

func cases(compute blas.DType) []testCase {
	return slices.Concat(gemmCases(compute), tokenCases(), normCases(), attentionCases(), droppedCases(compute), trainCases(compute), edgeCases())
}

// gemmSizes are m, n, k: single elements, odd ones, one more than whole tiles, a class token's row, the shapes of masked
// rows and tokens, a k too long for a cache.
var gemmSizes = [][3]int{{1, 1, 1}, {3, 5, 7}, {43, 97, 15}, {1, 64, 197}, {75, 33, 64}, {197, 192, 65}, {130, 70, 394}, {394, 64, 768}, {29, 70, 1701}}

func gemmCases(compute blas.DType) (out []testCase) {
	for _, size := range gemmSizes {
		for i, trans := range [][2]bool{{false, true}, {false, false}, {true, false}, {true, true}} {
			name := fmt.Sprintf("gemm %v trans %v", size, trans)
			out = append(out, testCase{name, true, products, func(s *side) {
				g := s.gemm(size, trans, compute)
				s.dev.Gemm(g)
			}}, testCase{name + " accumulate", true, products, func(s *side) {
				g := s.gemm(size, trans, compute.Master())
				g.Accumulate = true
				g.ColSum = s.sumInto("ColSum", sum, size[0])
				s.dev.Gemm(g)
			}})
			if i < 2 {
				out = append(out, epilogueCases(name, size, trans)...)
			}
		}
	}
	return out
}

// gemm makes the operands of a product; the scale is on A only, so that epilogues see values of that scale.
func (s *side) gemm(size [3]int, trans [2]bool, c blas.DType) blas.Gemm {
	m, n, k := size[0], size[1], size[2]
	g := blas.Gemm{TransA: trans[0], TransB: trans[1], Label: "test"}
	g.A = s.in(s.compute, pick(trans[0], k, m), pick(trans[0], m, k))
	g.B = s.plain(s.compute, pick(trans[1], n, k), pick(trans[1], k, n))
	g.C = s.check("C", sum, s.in(c, m, n))
	return g
}

func pick[T any](cond bool, a, b T) T {
	if cond {
		return a
	}
	return b
}

func epilogueCases(name string, size [3]int, trans [2]bool) (out []testCase) {
	m, n := size[0], size[1]
	for _, e := range []blas.Epilogue{blas.AddBias, blas.AddBiasGELU, blas.GELUGrad} {
		reach := pick(e == blas.GELUGrad, squares, products) // the derivative of cuBLASLt's GELU squares its argument
		out = append(out, testCase{fmt.Sprint(name, " ", e), true, reach, func(s *side) {
			g := s.gemm(size, trans, s.compute)
			g.Epilogue = e
			g.Bias = s.in(s.master, n) // GELUGrad has no use for it
			switch e {
			case blas.AddBiasGELU:
				g.Aux = s.out("Aux", sum, s.compute, m, n)
			case blas.GELUGrad:
				g.Aux = s.in(s.compute, m, n)
			}
			s.dev.Gemm(g)
		}})
	}
	for variant := range 4 {
		out = append(out, testCase{fmt.Sprint(name, " residual ", variant), true, products, func(s *side) {
			g := s.gemm(size, trans, s.master)
			g.Epilogue = blas.AddResidual
			g.Residual = g.C
			if variant&1 != 0 {
				g.Residual = s.in(s.master, m, n)
				g.Bias = s.in(s.master, n)
			}
			if variant&2 != 0 {
				g.RowsPer = pick(m%2 == 0, m/2, 1)
				g.Keep = s.factors(m / g.RowsPer)
			}
			s.dev.Gemm(g)
		}})
	}
	return out
}

func tokenCases() (out []testCase) {
	out = append(out,
		testCase{"cast", true, whole, func(s *side) {
			src := s.in(s.master, 6, 37)
			s.dev.Cast(blas.Cast{Dst: s.out("low", exact, s.compute, 6, 37), Src: src})
			s.dev.Cast(blas.Cast{Dst: s.out("scaled", element, s.compute, 6, 37), Src: src, Scale: s.factors(3), RowsPer: 2})
			s.dev.Cast(blas.Cast{Dst: s.out("from f16", exact, s.master, 3, 75), Src: s.plain(blas.F16, 3, 75)})
			s.dev.Cast(blas.Cast{Dst: s.out("from compute", exact, s.master, 1000), Src: s.in(s.compute, 1000)})
		}},
		testCase{"zero", false, whole, func(s *side) { s.dev.Zero(s.check("X", exact, s.in(s.compute, 5, 13)).Slice(1, 4)) }},
		testCase{"patches", false, squares, func(s *side) {
			px := s.values(blas.U8, s.random(2*24*24*3, func() float64 { return float64(s.rng.IntN(256)) }), 2, 24, 24, 3)
			s.dev.Patches(blas.Patches{Dst: s.out("Dst", element, s.compute, 2*9, 3*64), Pixels: px, Patch: 8,
				Mean: [3]float64{0.48, 0.45, 0.4}, Std: [3]float64{0.26, 0.25, 0.27}})
			s.dev.Patches(blas.Patches{Dst: s.out("some", element, s.compute, 5, 3*64), Pixels: px, Index: s.index(5, 2*9), Patch: 8, Std: [3]float64{1, 1, 1}})
		}},
		testCase{"rows", true, whole, func(s *side) {
			src, idx := s.in(s.compute, 197, 19), s.index(75, 197)
			some := s.out("gathered", exact, s.compute, 75, 19)
			s.dev.GatherRows(blas.GatherRows{Dst: some, Src: src, Index: idx})
			s.dev.ScatterRows(blas.ScatterRows{Dst: s.out("scattered", exact, s.compute, 197, 19), Src: some, Index: idx})
			m := s.in(s.master, 7, 5)
			s.dev.GatherRows(blas.GatherRows{Dst: s.out("master", exact, s.master, 3, 5), Src: m, Index: s.index(3, 7)})
		}},
		testCase{"sums of rows", true, products, func(s *side) {
			for _, size := range [][3]int{{1, 1, 19}, {3, 2, 5}, {2, 75, 133}} { // rows, terms, columns
				r, terms, d := size[0], size[1], size[2]
				idx := s.values(blas.I32, s.random(r*terms, func() float64 { return float64(s.rng.IntN(97)) }), r, terms)
				name := fmt.Sprint(size)
				low, full := s.in(s.compute, 97, d), s.in(s.master, 97, d)
				s.dev.GatherRows(blas.GatherRows{Dst: s.out("sums "+name, sum, s.compute, r, d), Src: low, Index: idx})
				s.dev.GatherRows(blas.GatherRows{Dst: s.sumInto("added "+name, sum, r, d), Src: full, Index: idx, Accumulate: true})
			}
		}})
	for _, full := range []bool{true, false} {
		out = append(out, testCase{fmt.Sprint("tokens mask and pos ", full), true, whole, func(s *side) { tokens(s, 3, 12, 21, full) }})
	}
	return out
}

func tokens(s *side, b, p, d int, full bool) {
	embed, dx := s.in(s.compute, b*p, d), s.in(s.master, b, p+1, d)
	f := blas.Tokens{Embed: embed, CLS: s.in(s.master, d), MaskToken: s.in(s.master, d), X: s.out("X", element, s.master, b, p+1, d)}
	r := blas.TokensBackward{DX: dx, DEmbed: s.out("DEmbed", exact, s.compute, b*p, d),
		DCLS: s.sumInto("DCLS", sum, d), DMaskToken: s.sumInto("DMaskToken", sum, d)}
	if full {
		f.Pos, f.Mask = s.in(s.master, p+1, d), s.bits(b, p)
		r.DPos, r.Mask = s.sumInto("DPos", sum, p+1, d), f.Mask
	}
	s.dev.Tokens(f)
	s.dev.TokensBackward(r)
}

func normCases() (out []testCase) {
	for _, size := range [][2]int{{1, 3}, {6, 64}, {197, 75}, {394, 768}} {
		for _, joined := range []bool{false, true} {
			out = append(out, testCase{fmt.Sprint("layer norm ", size, " joined ", joined), true, squares, func(s *side) { norm(s, s.in(s.master, size[0], size[1]), joined) }})
		}
	}
	for i, size := range [][3]int{{1, 1, 1}, {7, 30, 5}, {34, 97, 12}, {6, 768, 40}, {3, 1030, 9}} {
		out = append(out, testCase{fmt.Sprint("residual and layer norm ", size), true, squares, func(s *side) { residualNorm(s, size, i%2 > 0) }})
	}
	return append(out,
		testCase{"layer scale", true, whole, func(s *side) {
			s.dev.LayerScale(blas.LayerScale{ScaledWeight: s.out("ScaledWeight", element, s.compute, 33, 65),
				ScaledBias: s.out("ScaledBias", element, s.master, 33), Weight: s.in(s.master, 33, 65), Bias: s.in(s.master, 33), Gamma: s.plain(s.master, 33)})
		}},
		testCase{"layer scale backward", true, squares, func(s *side) {
			w, b, g := s.in(s.master, 33, 65), s.in(s.master, 33), s.plain(s.master, 33)
			s.dev.LayerScaleBackward(blas.LayerScaleBackward{DWeight: s.sumInto("DWeight", element, 33, 65),
				DBias: s.sumInto("DBias", element, 33), DGamma: s.sumInto("DGamma", sum, 33), Weight: w, Bias: b, Gamma: g})
		}},
		testCase{"relative position bias", true, whole, func(s *side) {
			const t, h, n = 28, 3, 10
			table, dbias := s.in(s.master, t, h), s.in(s.master, h, n, n)
			idx := s.values(blas.I32, s.random(n*n, func() float64 { return float64(s.rng.IntN(t)) }), n, n)
			s.dev.RelPosBias(blas.RelPosBias{Bias: s.out("Bias", exact, s.master, h, n, n), Table: table, Index: idx})
			s.dev.RelPosBiasBackward(blas.RelPosBiasBackward{DTable: s.sumInto("DTable", sum, t, h), DBias: dbias, Index: idx})
		}})
}

// norm is layer norm of x [m, d] and its backward, alone or joined to a residual path.
func norm(s *side, x blas.Tensor, joined bool) {
	m, d := x.Rows(), x.Cols()
	w := s.plain(s.master, d)
	mean, rstd := s.out("Mean", sum, s.master, m), s.out("Rstd", sum, s.master, m)
	s.dev.LayerNorm(blas.LayerNorm{Y: s.out("Y", sum, s.compute, m, d), Mean: mean, Rstd: rstd, X: x, Weight: w,
		Bias: s.plain(s.master, d), Eps: 1e-6})
	b := blas.LayerNormBackward{DX: s.sumInto("DX", sum, m, d), DY: s.in(s.compute, m, d), X: x, Mean: mean, Rstd: rstd, Weight: w,
		DWeight: s.sumInto("DWeight", sum, d), DBias: s.sumInto("DBias", sum, d)}
	if joined {
		b.Accumulate = true
		b.Low = s.out("Low", sum, s.compute, m, d)
		b.RowsPer = pick(m%2 == 0, m/2, 1)
		b.Keep = s.factors(m / b.RowsPer)
	}
	s.dev.LayerNormBackward(b)
}

// residualNorm is a product added to the residual stream, with its layer norm.
func residualNorm(s *side, size [3]int, dropPath bool) {
	m, n := size[0], size[1]
	g := s.gemm(size, [2]bool{false, true}, s.master)
	g.Epilogue, g.Residual = blas.AddResidual, s.in(s.master, m, n)
	if dropPath {
		g.Bias = s.in(s.master, n)
		g.RowsPer = pick(m%2 == 0, m/2, 1)
		g.Keep = s.factors(m / g.RowsPer)
	}
	g.Norm = blas.LayerNorm{Y: s.out("Y", sum, s.compute, m, n), Mean: s.out("Mean", sum, s.master, m), Rstd: s.out("Rstd", sum, s.master, m), X: g.C,
		Weight: s.plain(s.master, n), Bias: s.plain(s.master, n), Eps: 1e-6}
	s.dev.Gemm(g)
}

// record checks that a program issues the same work at each run.
func record(t *testing.T, dev blas.Device, compute blas.DType) {
	x := dev.Alloc("record", compute.Master(), 4)
	defer dev.Free(x)
	one := dev.Alloc("record", compute.Master(), 4)
	defer dev.Free(one)
	blas.Set(dev, one, []float64{1, 2, 3, 4})
	p := dev.Record("test", func() { dev.EMA(blas.EMA{Avg: x, Param: one, Decay: 0.5}) })
	for range 3 {
		p.Run()
	}
	if got, err := blas.Get(dev, x); err != nil || !slices.Equal(got, []float64{0.875, 1.75, 2.625, 3.5}) {
		t.Errorf("after three runs %v, %v", got, err)
	}
}

// fetchInOrder checks that each of several fetches gives what its tensor held when it was begun, in whatever order they are waited for.
func fetchInOrder(t *testing.T, dev blas.Device) {
	const n = blas.FetchBytes / 4
	x := dev.Alloc("fetch", blas.F32, n)
	defer dev.Free(x)
	got := make([][]float32, 5)
	waits := make([]func() error, len(got))
	for i := range got {
		blas.Set(dev, x, slices.Repeat([]float64{float64(i)}, n))
		got[i] = make([]float32, n)
		waits[i] = dev.Fetch(blas.Bytes(got[i]), x)
	}
	dev.Zero(x)
	for _, i := range []int{0, 2, 1, 4, 3} {
		if err := waits[i](); err != nil || got[i][0] != float32(i) || got[i][n-1] != float32(i) {
			t.Errorf("fetch %d gave %v to %v, %v", i, got[i][0], got[i][n-1], err)
		}
	}
}

// uploadInOrder checks that an upload waits for earlier operations and has taken its bytes when it returns.
func uploadInOrder(t *testing.T, dev blas.Device) {
	const n = 1 << 16
	a, b := dev.Alloc("order", blas.I32, 1, n), dev.Alloc("order", blas.I32, 2, n)
	idx := dev.Alloc("order", blas.I32, 1)
	defer dev.Free(a)
	defer dev.Free(b)
	defer dev.Free(idx)
	host := make([]int32, n)
	for i := range int32(2) {
		for j := range host {
			host[j] = i + 1
		}
		dev.Upload(a, blas.Bytes(host))
		clear(host)
		dev.GatherRows(blas.GatherRows{Dst: b.Slice(int(i), int(i)+1), Src: a, Index: idx})
	}
	got, err := blas.Get(dev, b)
	if err != nil || got[n-1] != 1 || got[n] != 2 || got[2*n-1] != 2 {
		t.Errorf("rows hold %v, %v, want 1, 2: %v", got[n-1], got[n], err)
	}
}
