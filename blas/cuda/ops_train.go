package cuda

// #include "api.h"
import "C"

import "mvptargets/blas"

// sumOf queues a kernel that leaves partial sums in scratch memory, and the sum of those: out = before·out + scale·sum.
func (d *Device) sumOf(o blas.Op, out blas.Tensor, n int, before bool, scale float64, first func(partial C.CUdeviceptr) error) {
	d.op(o.Name(), func() error {
		partial, err := d.scratch("a sum", 4*n)
		if err != nil {
			return err
		}
		if err := first(partial); err != nil {
			return err
		}
		return d.launch("finish_sum", shape{grid: [3]int{1}, block: threads, shared: sums}, out, partial, n, float32(scale), flag(before))
	})
}

// CosineLoss implements blas.Device.
func (d *Device) CosineLoss(l blas.CosineLoss) {
	l.Check()
	only(l.Name(), l.Pred, l.Target)
	rows := l.Pred.Rows()
	d.sumOf(l, l.Loss, rows, true, l.Scale, func(partial C.CUdeviceptr) error {
		return d.launch(typed("cosine_loss", l.Pred, l.Target), rowsOf(rows), partial, l.Stats, l.Pred, l.Target, rows, l.Pred.Cols())
	})
}

// CosineLossBackward implements blas.Device.
func (d *Device) CosineLossBackward(l blas.CosineLossBackward) {
	l.Check()
	only(l.Name(), l.Pred, l.Target)
	d.kernel(l, typed("cosine_loss_backward", l.Pred, l.Target), rowsOf(l.Pred.Rows()), l.DPred, l.Stats, l.Pred, l.Target,
		l.Pred.Rows(), l.Pred.Cols(), float32(l.Scale))
}

// blocksOf is the blocks of a loop over n numbers that leaves one partial sum each.
func blocksOf(n int) shape {
	return shape{grid: [3]int{min(ceil(n, 4*threads), 1024)}, block: threads, shared: sums}
}

// SmoothL1Loss implements blas.Device.
func (d *Device) SmoothL1Loss(l blas.SmoothL1Loss) {
	l.Check()
	only(l.Name(), l.Pred, l.Target)
	s := blocksOf(l.Pred.Len())
	d.sumOf(l, l.Loss, s.grid[0], true, l.Scale, func(partial C.CUdeviceptr) error {
		return d.launch(typed("smooth_l1_loss", l.Pred, l.Target), s, partial, l.Pred, l.Target, int64(l.Pred.Len()), float32(l.Beta))
	})
}

// SmoothL1LossBackward implements blas.Device.
func (d *Device) SmoothL1LossBackward(l blas.SmoothL1LossBackward) {
	l.Check()
	only(l.Name(), l.Pred, l.Target)
	d.kernel(l, typed("smooth_l1_loss_backward", l.Pred, l.Target), d.flat(l.Pred.Len()), l.DPred, l.Pred, l.Target, int64(l.Pred.Len()),
		float32(l.Beta), float32(l.Scale))
}

// SumSquares implements blas.Device.
func (d *Device) SumSquares(s blas.SumSquares) {
	s.Check()
	only(s.Name(), s.X)
	b := blocksOf(s.X.Len())
	d.sumOf(s, s.Out, b.grid[0], false, 1, func(partial C.CUdeviceptr) error {
		return d.launch("sum_squares", b, partial, s.X, int64(s.X.Len()))
	})
}

// PrepareStep implements blas.Device.
func (d *Device) PrepareStep(p blas.PrepareStep) {
	p.Check()
	only(p.Name(), p.State)
	d.kernel(p, "prepare_step", shape{grid: [3]int{1}, block: 32}, p.State, p.SumSq, float32(p.MaxNorm))
}

// AdamW implements blas.Device.
func (d *Device) AdamW(a blas.AdamW) {
	a.Check()
	only(a.Name(), a.Param)
	name := "adamw_f32"
	if a.Low.Ok() {
		name = typed("adamw", a.Low)
	}
	s := d.flat(a.Param.Len())
	s.shared = 2 * 4
	d.kernel(a, name, s, a.Param, a.Grad, a.M, a.V, a.Low, a.Bounds, a.Factors, a.Hyper, a.State, int64(a.Param.Len()), a.Factors.Rows(),
		float32(a.Beta1), float32(1-a.Beta1), float32(a.Beta2), float32(1-a.Beta2), float32(a.Eps))
}

// EMA implements blas.Device.
func (d *Device) EMA(e blas.EMA) {
	e.Check()
	only(e.Name(), e.Avg)
	d.kernel(e, "ema_f32", d.flat(e.Avg.Len()), e.Avg, e.Param, int64(e.Avg.Len()), float32(e.Decay), float32(1-e.Decay))
}
