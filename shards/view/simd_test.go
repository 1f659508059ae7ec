package view

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// sameBytes holds the passes in vectors to the plain ones on one random image and window.
func sameBytes(t *testing.T, r *rand.Rand, w, h, outW, outH int) {
	t.Helper()
	x, y := r.IntN(4), r.IntN(4)
	pix := make([]uint8, 3*(w+x)*(h+y)) // the box ends where the buffer ends: nothing may be read beyond
	for i := range pix {
		pix[i] = uint8(255 * r.IntN(2)) // black and white, so that the filter overshoots and the clipping counts
		if i%3 == 0 {
			pix[i] = uint8(r.IntN(256))
		}
	}
	src := source{pix, 3 * (w + x), x, y, w, h}
	ww, wh := 1+r.IntN(outW), 1+r.IntN(outH)
	x0, y0 := r.IntN(outW-ww+1), r.IntN(outH-wh+1)
	want, got := make([]uint8, 3*ww*wh), make([]uint8, 3*ww*wh)
	resizeWith(plain, want, ww, wh, src, outW, outH, x0, y0)
	for on := avx2; on <= simd; on++ {
		clear(got)
		resizeWith(on, got, ww, wh, src, outW, outH, x0, y0)
		if !bytes.Equal(want, got) {
			t.Fatalf("%dx%d to %dx%d, window %dx%d at %d,%d, level %d: the passes differ", w, h, outW, outH, ww, wh, x0, y0, on)
		}
	}
}

func TestSIMDEqualsPlain(t *testing.T) {
	if simd == plain {
		t.Skip("this processor has no AVX2")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		sameBytes(t, r, 1+r.IntN(200), 1+r.IntN(200), 1+r.IntN(150), 1+r.IntN(150))
	}
	sameBytes(t, r, 3000, 5, 3, 4)
}

func FuzzSIMDEqualsPlain(f *testing.F) {
	if simd == plain {
		f.Skip("this processor has no AVX2")
	}
	f.Add(uint64(1), uint16(500), uint16(375), uint16(299), uint16(224))
	f.Fuzz(func(t *testing.T, seed uint64, w, h, outW, outH uint16) {
		r := rand.New(rand.NewPCG(seed, 0))
		sameBytes(t, r, 1+int(w%700), 1+int(h%700), 1+int(outW%400), 1+int(outH%400))
	})
}

func BenchmarkRender(b *testing.B) {
	img := &Image{W: 500, H: 375, Pix: make([]uint8, 3*500*375)}
	dst, src := make([]uint8, 3*224*224), source{img.Pix, 3 * 500, 0, 0, 500, 375}
	w, h := shortSide(img.W, img.H, 224)
	for on := plain; on <= simd; on++ {
		b.Run([]string{"plain", "avx2", "avx512"}[on], func(b *testing.B) {
			for b.Loop() {
				resizeWith(on, dst, 224, 224, src, w, h, middle(w, 224), middle(h, 224))
			}
		})
	}
}
