package teacher

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/cpu"
)

// CLIP's, ImageNet's and SigLIP's means and deviations: the numbers in vectors are the table's, whatever the count of pixels.
func TestPixelsInVectors(t *testing.T) {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		t.Skip("this processor has no AVX2 with FMA")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range []Preprocessing{
		{Mean: clipMean, Std: clipStd},
		{Mean: [3]float32{0.485, 0.456, 0.406}, Std: [3]float32{0.229, 0.224, 0.225}},
		{Mean: [3]float32{0.5, 0.5, 0.5}, Std: [3]float32{0.5, 0.5, 0.5}},
	} {
		table := p.normalization()
		if !normalizes(&p, &table) {
			t.Fatalf("%v, %v: the numbers differ from the table's", p.Mean, p.Std)
		}
		for plane := range 40 {
			rgb := make([]uint8, 3*(plane+1))
			for i := range rgb {
				rgb[i] = uint8(r.Uint32())
			}
			want, got := make([]float32, len(rgb)), make([]float32, len(rgb))
			setPixels(want, rgb, &table, 0)
			setPixels(got, rgb, &table, normalize(got, rgb, &p))
			if !slices.Equal(got, want) {
				t.Fatalf("%d pixels: the numbers differ from the table's", plane+1)
			}
		}
	}
}
