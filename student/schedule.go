package student

import "math"

// Schedule is the learning rate of each step: linear warm-up from 0, then half a cosine down to Min (Loshchilov & Hutter, arXiv
// 1608.03983, without restarts; utils.cosine_scheduler of BEiT). Step Warmup is the first at Peak, step Total-1 is one short of Min.
type Schedule struct {
	Peak, Min     float64
	Warmup, Total int // steps
}

// At is the learning rate of the given step, counted from 0.
func (s Schedule) At(step int) float64 {
	if step < s.Warmup {
		return s.Peak * float64(step) / float64(s.Warmup)
	}
	if step >= s.Total {
		return s.Min
	}
	done := float64(step-s.Warmup) / float64(s.Total-s.Warmup)
	return s.Min + (s.Peak-s.Min)*(1+math.Cos(math.Pi*done))/2
}
