package pca

import (
	"image/color"
	"math"
	"math/rand/v2"
	"testing"
)

// spread makes n features of width dim whose spread along the given directions is the given one, plus a little noise.
func spread(n, dim int, directions [][]float64, sizes []float64) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]float32, 0, n*dim)
	for range n {
		f := make([]float64, dim)
		for k, d := range directions {
			a := sizes[k] * r.NormFloat64()
			for j := range f {
				f[j] += a * d[j]
			}
		}
		for _, x := range f {
			out = append(out, float32(x+5+1e-3*r.NormFloat64()))
		}
	}
	return out
}

func unit(v ...float64) []float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	for i := range v {
		v[i] /= math.Sqrt(sum)
	}
	return v
}

func TestKnownDirections(t *testing.T) {
	directions := [][]float64{unit(3, 1, 0, 0, -1), unit(0, 0, 1, 0, 0), unit(1, -3, 0, 0, 0)}
	b, err := Fit(spread(4000, 5, directions, []float64{9, 4, 1}), 5)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]float64{unit(3, 1, 0, 0, -1), unit(0, 0, 1, 0, 0), unit(-1, 3, 0, 0, 0)} // the largest entry is positive
	for c := range Channels {
		dot := 0.0
		for j := range 5 {
			dot += b.Axes[c][j] * want[c][j]
		}
		if dot < 0.999 {
			t.Errorf("axis %d is %.3f, want %.3f", c, b.Axes[c], want[c])
		}
	}
	if s := b.Share; math.Abs(s[0]-81./98) > 0.02 || math.Abs(s[1]-16./98) > 0.02 || math.Abs(s[2]-1./98) > 0.01 {
		t.Errorf("shares of variance %v", s)
	}
}

// The order of the features decides nothing, and neither does an added constant but the mean.
func TestDeterministicColours(t *testing.T) {
	const n, dim = 300, 4
	f := spread(n, dim, [][]float64{unit(1, 1, 0, 0), unit(0, 0, 1, -1), unit(1, -1, 0, 0)}, []float64{3, 2, 1})
	b, _ := Fit(f, dim)
	reversed := make([]float32, 0, len(f))
	for i := n - 1; i >= 0; i-- {
		for _, x := range f[i*dim : (i+1)*dim] {
			reversed = append(reversed, x+1)
		}
	}
	r, _ := Fit(reversed, dim)
	for i := range n {
		p, q := b.Color(f[i*dim:(i+1)*dim]), r.Color(reversed[(n-1-i)*dim:(n-i)*dim])
		for _, d := range []int{int(p.R) - int(q.R), int(p.G) - int(q.G), int(p.B) - int(q.B)} {
			if d < -1 || d > 1 { // the sums' order shows in the last digit
				t.Fatalf("feature %d is %v and %v", i, p, q)
			}
		}
	}
}

func TestClipping(t *testing.T) {
	f := make([]float32, 0, 1001)
	for i := range 1001 {
		f = append(f, float32(i))
	}
	f[1000] = 1e6 // one odd patch
	b, err := Fit(f, 1)
	if err != nil {
		t.Fatal(err)
	}
	if lo, hi := b.Low[0]+b.Mean[0], b.High[0]+b.Mean[0]; math.Abs(lo-10) > 1e-6 || math.Abs(hi-990) > 1e-6 {
		t.Errorf("colours run from %g to %g, want the percentiles 10 and 990", lo, hi)
	}
	for x, want := range map[float32]uint8{0: 0, 10: 0, 500: 128, 990: 255, 1e6: 255} {
		if got := b.Color([]float32{x}); got != (color.RGBA{want, 128, 128, 255}) {
			t.Errorf("%g becomes %v, want %d in red and grey elsewhere", x, got, want)
		}
	}
}

func TestPictureIsRaster(t *testing.T) {
	f := []float32{0, 1, 2, 3, 4, 5}
	b, err := Fit(f, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := b.Picture(f, 2, 3)
	if m.Bounds().Dx() != 3 || m.Bounds().Dy() != 2 || m.RGBAAt(0, 0).R != 0 || m.RGBAAt(2, 1).R != 255 || m.RGBAAt(2, 0).R >= m.RGBAAt(0, 1).R {
		t.Errorf("picture is %v", m)
	}
}

func TestConstantFeatures(t *testing.T) {
	b, err := Fit([]float32{2, 3, 2, 3, 2, 3}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Color([]float32{2, 3}); got != (color.RGBA{128, 128, 128, 255}) {
		t.Errorf("a constant becomes %v", got)
	}
}

func TestBadFeatures(t *testing.T) {
	nan := float32(math.NaN())
	for _, f := range [][]float32{nil, {1, 2, 3}, {nan, 1, 2, nan}} {
		if b, err := Fit(f, 2); err == nil {
			t.Errorf("%v gave %v", f, b)
		}
	}
}

func TestNormalize(t *testing.T) {
	f := []float32{3, 4, 0, 0, 0, -2}
	Normalize(f, 2)
	for i, want := range []float32{0.6, 0.8, 0, 0, 0, -1} {
		if f[i] != want {
			t.Errorf("number %d is %g, want %g", i, f[i], want)
		}
	}
}
