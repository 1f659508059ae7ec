package student

import (
	"bytes"
	"testing"
)

var beitMasking = Masking{Grid: 14, Count: 75, MinBlock: 16, MinRatio: 0.3}

func TestMaskHasExactCount(t *testing.T) {
	for _, k := range []Masking{
		beitMasking,
		{Grid: 8, Count: 26, MinBlock: 4, MinRatio: 0.3},
		{Grid: 14, Count: 195, MinBlock: 16, MinRatio: 0.3},
		{Grid: 2, Count: 1, MinBlock: 16, MinRatio: 0.3}, // no block fits: single patches only
		{Grid: 14, Count: 75, MinBlock: 16, MaxBlock: 20, MinRatio: 1},
	} {
		if err := k.Validate(); err != nil {
			t.Fatal(err)
		}
		mask := make([]uint8, k.Grid*k.Grid)
		for sample := range uint64(2000) {
			k.Fill(mask, 1, 7, sample)
			if n := bytes.Count(mask, []byte{1}); n != k.Count {
				t.Fatalf("%+v, sample %d: %d patches masked", k, sample, n)
			}
		}
	}
}

func TestMaskIsAFunctionOfSeedStepAndSample(t *testing.T) {
	fill := func(seed, step, sample uint64) []uint8 {
		mask := make([]uint8, 196)
		beitMasking.Fill(mask, seed, step, sample)
		return mask
	}
	first := fill(1, 2, 3)
	for _, other := range [][]uint8{fill(2, 2, 3), fill(1, 3, 3), fill(1, 2, 4)} {
		if bytes.Equal(first, other) {
			t.Error("another seed, step or sample gave the same mask")
		}
	}
	if !bytes.Equal(first, fill(1, 2, 3)) {
		t.Error("the same seed, step and sample gave another mask")
	}
}

// Blocks leave most masked patches with masked neighbours: 75 patches drawn singly would have 0.38 of their neighbours masked.
func TestMaskIsBlockWise(t *testing.T) {
	mask := make([]uint8, 196)
	var pairs, both float64
	for sample := range uint64(500) {
		beitMasking.Fill(mask, 1, 0, sample)
		for i, m := range mask {
			if m != 0 && i%14 < 13 {
				pairs++
				both += float64(mask[i+1])
			}
		}
	}
	if f := both / pairs; f < 0.7 {
		t.Errorf("%.2f of the masked patches have a masked right neighbour, want at least 0.7", f)
	}
}

// Blocks that lie wholly inside the grid cover the middle most, as in BEiT; but every patch is masked at times, and no corner is
// preferred: their frequencies differ by less than 5 standard errors of 4000 draws, 0.02.
func TestMaskReachesEveryPatch(t *testing.T) {
	mask, count := make([]uint8, 196), make([]float64, 196)
	const samples = 4000
	for sample := range uint64(samples) {
		beitMasking.Fill(mask, 1, 0, sample)
		for i, m := range mask {
			count[i] += float64(m) / samples
		}
	}
	for i, f := range count {
		if f < 0.02 || f > 0.8 {
			t.Errorf("patch %d is masked in %.2f of the masks", i, f)
		}
	}
	for _, corner := range []int{13, 182, 195} {
		if d := count[corner] - count[0]; d < -0.02 || d > 0.02 {
			t.Errorf("corner %d is masked in %.3f of the masks, corner 0 in %.3f", corner, count[corner], count[0])
		}
	}
}

func TestMaskingRefusesTheImpossible(t *testing.T) {
	for _, k := range []Masking{
		{Grid: 14, Count: 196, MinBlock: 16, MinRatio: 0.3}, {Grid: 14, MinBlock: 16, MinRatio: 0.3},
		{Grid: 14, Count: 75, MinRatio: 0.3}, {Grid: 14, Count: 75, MinBlock: 16},
		{Grid: 14, Count: 75, MinBlock: 16, MaxBlock: 8, MinRatio: 0.3},
	} {
		if k.Validate() == nil {
			t.Errorf("%+v passes", k)
		}
	}
}
