package ref

import (
	"math"

	"mvptargets/blas"
)

// CosineLoss implements blas.Device.
func (d *Device) CosineLoss(l blas.CosineLoss) {
	l.Check()
	var sum float64
	for r := range l.Pred.Rows() {
		p, t := row(l.Pred, r), row(l.Target, r)
		invP := 1 / math.Max(math.Sqrt(dot(p, p)), 1e-8)
		invT := 1 / math.Max(math.Sqrt(dot(t, t)), 1e-8)
		cos := dot(p, t) * invP * invT
		sum += 1 - cos
		stats, dt := row(l.Stats, r), l.Stats.DType()
		stats[0], stats[1], stats[2] = dt.Round(cos), dt.Round(invP), dt.Round(invT)
	}
	add(l.Loss, []float64{l.Scale * sum})
}

// CosineLossBackward implements blas.Device.
func (d *Device) CosineLossBackward(l blas.CosineLossBackward) {
	l.Check()
	for r := range l.Pred.Rows() {
		p, t, dp, stats := row(l.Pred, r), row(l.Target, r), row(l.DPred, r), row(l.Stats, r)
		cos, invP, invT := stats[0], stats[1], stats[2]
		for c := range dp {
			dp[c] = l.DPred.DType().Round(-l.Scale * invP * (t[c]*invT - cos*p[c]*invP))
		}
	}
}

// SmoothL1Loss implements blas.Device.
func (d *Device) SmoothL1Loss(l blas.SmoothL1Loss) {
	l.Check()
	var sum float64
	t := data(l.Target)
	for i, p := range data(l.Pred) {
		if e := math.Abs(p - t[i]); e < l.Beta {
			sum += e * e / (2 * l.Beta)
		} else {
			sum += e - l.Beta/2
		}
	}
	add(l.Loss, []float64{l.Scale * sum})
}

// SmoothL1LossBackward implements blas.Device.
func (d *Device) SmoothL1LossBackward(l blas.SmoothL1LossBackward) {
	l.Check()
	dp, t := data(l.DPred), data(l.Target)
	for i, p := range data(l.Pred) {
		dp[i] = l.DPred.DType().Round(l.Scale * math.Max(-1, math.Min(1, (p-t[i])/l.Beta)))
	}
}

// SumSquares implements blas.Device.
func (d *Device) SumSquares(s blas.SumSquares) {
	s.Check()
	x := data(s.X)
	store(s.Out, []float64{dot(x, x)})
}

// PrepareStep implements blas.Device.
func (d *Device) PrepareStep(p blas.PrepareStep) {
	p.Check()
	state, dt := data(p.State), p.State.DType()
	norm := math.Sqrt(data(p.SumSq)[0])
	state[blas.StateNorm] = dt.Round(norm)
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		state[blas.StateSkipped]++
		state[blas.StateClip] = 0
		return
	}
	state[blas.StateSteps]++
	clip := 1.0
	if p.MaxNorm > 0 {
		clip = math.Min(1, p.MaxNorm/(norm+1e-6))
	}
	state[blas.StateClip] = dt.Round(clip)
}

// AdamW implements blas.Device.
func (d *Device) AdamW(a blas.AdamW) {
	a.Check()
	state, hyper := data(a.State), data(a.Hyper)
	bounds, factors := data(a.Bounds), data(a.Factors)
	if clip := state[blas.StateClip]; clip != 0 {
		for s := range a.Factors.Rows() {
			lr := hyper[blas.HyperLR] * factors[2*s]
			wd := hyper[blas.HyperWeightDecay] * factors[2*s+1]
			adamSegment(a, int(bounds[s]), int(bounds[s+1]), lr, wd, clip, state[blas.StateSteps])
		}
	}
	if a.Low.Ok() {
		store(a.Low, data(a.Param))
	}
}

func adamSegment(a blas.AdamW, lo, hi int, lr, wd, clip, t float64) {
	if lr == 0 {
		return
	}
	p, g, m, v := data(a.Param), data(a.Grad), data(a.M), data(a.V)
	dt := a.Param.DType()
	c1, c2 := 1-math.Pow(a.Beta1, t), 1-math.Pow(a.Beta2, t)
	for i := lo; i < hi; i++ {
		gi := clip * g[i]
		mi := a.Beta1*m[i] + (1-a.Beta1)*gi
		vi := a.Beta2*v[i] + (1-a.Beta2)*gi*gi
		m[i], v[i] = dt.Round(mi), dt.Round(vi)
		p[i] = dt.Round(p[i]*(1-lr*wd) - lr*(mi/c1)/(math.Sqrt(vi/c2)+a.Eps))
	}
}

// EMA implements blas.Device.
func (d *Device) EMA(e blas.EMA) {
	e.Check()
	avg, p := data(e.Avg), data(e.Param)
	for i := range avg {
		avg[i] = e.Avg.DType().Round(e.Decay*avg[i] + (1-e.Decay)*p[i])
	}
}
