package report

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		top  float64
		n    int
		want []float64
	}{{1.007, 4, []float64{0, 0.5, 1}}, {148, 6, []float64{0, 50, 100}}, {0.0015, 2, []float64{0, 0.001}}, {10, 5, []float64{0, 2, 4, 6, 8, 10}}} {
		if got := ticks(c.top, c.n); !slices.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-12 }) {
			t.Errorf("ticks(%g, %d) = %v, want %v", c.top, c.n, got, c.want)
		}
	}
}

// A constant has no bias to 0, and what is not finite is a gap.
func TestSmoothAndGaps(t *testing.T) {
	values := make([]float64, 200)
	for i := range values {
		values[i] = 3
	}
	values[7] = math.NaN()
	for i, v := range smooth(values) {
		if math.Abs(v-3) > 1e-12 {
			t.Fatalf("smoothed value %d is %g", i, v)
		}
	}
	c := NewChart([]float64{1, 2, 3, 4}, []float64{1, math.NaN(), 0.5, math.Inf(1)}, 100)
	if strings.Count(c.Raw, "M") != 2 || strings.Contains(c.Raw, "N") || strings.Contains(c.Raw, "I") {
		t.Errorf("path %s", c.Raw)
	}
	if all := NewChart([]float64{1}, []float64{math.NaN()}, 100); all.Raw != "" || strings.Contains(all.Smooth, "NaN") {
		t.Errorf("chart of nothing: %+v", all)
	}
}
