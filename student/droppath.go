package student

// FillKeep writes the drop path factors of one sample, column n of keep [2·depth, batch] (Huang et al., arXiv 1603.09382): 0 with
// the branch's rate, else 1/(1-rate). The rate rises linearly over the blocks from 0 to rate, as in BEiT; both branches of a block share
// it and are drawn apart.
func FillKeep(keep []float32, n, batch, depth int, rate float64, seed, step, sample uint64) {
	r := stream(seed, drawDropPath, step, sample)
	for i := range 2 * depth {
		p := 0.0
		if depth > 1 {
			p = rate * float64(i/2) / float64(depth-1)
		}
		factor := float32(1 / (1 - p))
		if r.Float64() < p {
			factor = 0
		}
		keep[i*batch+n] = factor
	}
}
