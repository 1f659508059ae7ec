package half

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// nearest finds the 16-bit value closest to f by search over all finite ones, ties to even: the definition, slowly.
func nearest(f float32, widen func(uint16) float32) uint16 {
	best, bestDist := uint16(0), new(big.Float).SetInf(false)
	target := new(big.Float).SetFloat64(math.Abs(float64(f)))
	lo, hi := 0, 0x7fff
	for lo < hi { // magnitudes grow with the bits
		mid := (lo + hi) / 2
		if v := widen(uint16(mid)); v != v || float64(v) >= math.Abs(float64(f)) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for c := max(lo-1, 0); c <= lo; c++ {
		v := float64(widen(uint16(c)))
		if math.IsInf(v, 0) || v != v {
			continue
		}
		d := new(big.Float).Sub(new(big.Float).SetFloat64(v), target)
		d.Abs(d)
		if cmp := d.Cmp(bestDist); cmp < 0 || cmp == 0 && c&1 == 0 {
			best, bestDist = uint16(c), d
		}
	}
	if math.Signbit(float64(f)) {
		best |= 0x8000
	}
	return best
}

func TestWideningRoundTrips(t *testing.T) {
	for i := 0; i < 1<<16; i++ {
		h := uint16(i)
		if f := FromF16(h); f == f && F16(f) != h {
			t.Fatalf("float16 %#04x -> %g -> %#04x", h, f, F16(f))
		} else if f != f && !isNaN(FromF16(F16(f))) {
			t.Fatalf("float16 %#04x: NaN lost", h)
		}
		if f := FromBF16(h); f == f && BF16(f) != h {
			t.Fatalf("bfloat16 %#04x -> %g -> %#04x", h, f, BF16(f))
		} else if f != f && !isNaN(FromBF16(BF16(f))) {
			t.Fatalf("bfloat16 %#04x: NaN lost", h)
		}
	}
}

func TestRoundsToNearestEven(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200000 {
		f := math.Float32frombits(r.Uint32())
		if f != f {
			continue
		}
		if math.Abs(float64(f)) < 65504 {
			if got, want := F16(f), nearest(f, FromF16); got != want {
				t.Fatalf("float16(%g) = %#04x, nearest is %#04x", f, got, want)
			}
		}
		if math.Abs(float64(f)) < 3e38 {
			if got, want := BF16(f), nearest(f, FromBF16); got != want {
				t.Fatalf("bfloat16(%g) = %#04x, nearest is %#04x", f, got, want)
			}
		}
	}
	for _, c := range []struct {
		f    float32
		want uint16
	}{{65504, 0x7bff}, {65519.99, 0x7bff}, {65520, 0x7c00}, {float32(math.Inf(-1)), 0xfc00},
		{5.9604645e-8, 1}, {2.9802322e-8, 0}, {2.9802326e-8, 1}, {-6.1e-5, 0x83ff}} {
		if got := F16(c.f); got != c.want {
			t.Errorf("float16(%g) = %#04x, want %#04x", c.f, got, c.want)
		}
	}
}

func isNaN(f float32) bool { return f != f }
