package student

import (
	"math"
	"testing"
)

// The factors' mean is 1 in every branch, so that the expected residual stream is that of evaluation; rates rise with depth.
func TestDropPathFactors(t *testing.T) {
	const depth, samples, rate = 4, 20000, 0.3
	keep := make([]float32, 2*depth)
	sum, zeros := make([]float64, 2*depth), make([]float64, 2*depth)
	for s := range uint64(samples) {
		fillKeep(keep, 0, 1, depth, rate, 1, 2, s)
		for i, k := range keep {
			sum[i] += float64(k) / samples
			if k == 0 {
				zeros[i] += 1.0 / samples
			}
		}
	}
	for i := range sum {
		p := rate * float64(i/2) / (depth - 1)
		// 5 standard errors of a share p, and of a mean of 0 and 1/(1-p).
		if e := 5 * math.Sqrt(p*(1-p)/samples); math.Abs(zeros[i]-p) > e || math.Abs(sum[i]-1) > e/(1-p)+1e-6 {
			t.Errorf("branch %d: dropped %.3f, want %.3f; mean factor %.3f, want 1", i, zeros[i], p, sum[i])
		}
	}
}
