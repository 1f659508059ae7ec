package student

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Masking is BEiT's block-wise masking (arXiv 2106.08254, algorithm 1) with exactly Count masked patches in every mask, as BEiT v2
// has it: blocks are placed until the count is reached; what blocks cannot fill is topped up with single patches.
type Masking struct {
	Grid     int     // patches on a side
	Count    int     // masked patches per image
	MinBlock int     // patches in a block at least, while as many are missing
	MaxBlock int     // patches in a block at most; 0 for Count
	MinRatio float64 // of height over width, at least; 1/MinRatio at most
}

// blockTries is how often a block is drawn before the rest is topped up with single patches (masking_generator.py of BEiT: 10).
const blockTries = 10

// Validate refuses what no mask can satisfy.
func (k Masking) Validate() error {
	switch {
	case k.Count < 1 || k.Count >= k.Grid*k.Grid:
		return fmt.Errorf("%d masked patches of %d: at least one must be masked and one seen", k.Count, k.Grid*k.Grid)
	case k.MinBlock < 1:
		return fmt.Errorf("blocks of at least %d patches: must be positive", k.MinBlock)
	case k.MaxBlock < 0 || k.MaxBlock > 0 && k.MaxBlock < k.MinBlock:
		return fmt.Errorf("blocks of %d to %d patches: the upper end must not be below the lower", k.MinBlock, k.MaxBlock)
	case !(k.MinRatio > 0 && k.MinRatio <= 1):
		return fmt.Errorf("smallest aspect ratio of a block %g: must be above 0 and at most 1", k.MinRatio)
	}
	return nil
}

// Fill writes the mask of a sample at a step to mask [Grid·Grid], 1 for masked. It is a function of its arguments alone.
func (k Masking) Fill(mask []uint8, seed, step, sample uint64) {
	clear(mask)
	r := stream(seed, drawMask, step, sample)
	left := k.Count
	for left > 0 {
		n := k.placeBlock(mask, left, r)
		if n == 0 {
			break
		}
		left -= n
	}
	k.topUp(mask, left, r)
}

// placeBlock masks one more block that adds at least one patch and at most left; it returns how many it added, 0 where no try fit.
func (k Masking) placeBlock(mask []uint8, left int, r *rand.Rand) int {
	top := left
	if k.MaxBlock > 0 {
		top = min(top, k.MaxBlock)
	}
	spread := math.Log(1 / k.MinRatio)
	for range blockTries {
		area := float64(k.MinBlock)
		if top > k.MinBlock {
			area += r.Float64() * float64(top-k.MinBlock)
		}
		ratio := math.Exp((2*r.Float64() - 1) * spread)
		h := int(math.RoundToEven(math.Sqrt(area * ratio)))
		w := int(math.RoundToEven(math.Sqrt(area / ratio)))
		if h < 1 || w < 1 || h >= k.Grid || w >= k.Grid {
			continue
		}
		y, x := r.IntN(k.Grid-h+1), r.IntN(k.Grid-w+1)
		if added := k.missing(mask, y, x, h, w); added > 0 && added <= left {
			k.set(mask, y, x, h, w)
			return added
		}
	}
	return 0
}

// missing counts the patches of a block that are not masked yet.
func (k Masking) missing(mask []uint8, y, x, h, w int) (n int) {
	for i := y; i < y+h; i++ {
		for _, m := range mask[i*k.Grid+x : i*k.Grid+x+w] {
			n += int(1 - m)
		}
	}
	return n
}

func (k Masking) set(mask []uint8, y, x, h, w int) {
	for i := y; i < y+h; i++ {
		row := mask[i*k.Grid+x : i*k.Grid+x+w]
		for j := range row {
			row[j] = 1
		}
	}
}

// topUp masks n more patches, each drawn evenly from those still seen.
func (k Masking) topUp(mask []uint8, n int, r *rand.Rand) {
	seen := len(mask) - k.Count + n
	for i := 0; n > 0; i++ {
		if mask[i] != 0 {
			continue
		}
		if r.IntN(seen) < n {
			mask[i] = 1
			n--
		}
		seen--
	}
}
