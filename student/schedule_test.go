package student

import (
	"math"
	"testing"
)

func TestSchedule(t *testing.T) {
	s := Schedule{Peak: 1.5e-3, Min: 1e-5, Warmup: 10, Total: 110}
	for step, want := range map[int]float64{
		0: 0, 1: 1.5e-4, 9: 1.35e-3, 10: 1.5e-3,
		60:  (1.5e-3 + 1e-5) / 2, // half way down
		110: 1e-5, 500: 1e-5,
	} {
		if got := s.At(step); math.Abs(got-want) > 1e-12 {
			t.Errorf("step %d: learning rate %g, want %g", step, got, want)
		}
	}
	for step := s.Warmup; step < s.Total; step++ {
		if s.At(step+1) >= s.At(step) {
			t.Errorf("the learning rate does not fall from step %d to %d", step, step+1)
		}
	}
}

func TestScheduleWithoutWarmup(t *testing.T) {
	if got := (Schedule{Peak: 1, Min: 0.1, Total: 10}).At(0); got != 1 {
		t.Errorf("without warm-up the first step has learning rate %g, want the peak", got)
	}
}
