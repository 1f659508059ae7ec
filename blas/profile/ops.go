package profile

import "mvptargets/blas"

var _ blas.Device = (*Device)(nil)

// op times an operation under its own name and cost.
func op[T blas.Op](d *Device, o T, do func(T)) { d.time(o.Name(), o.Cost(), func() { do(o) }) }

// Sync implements blas.Device.
func (d *Device) Sync() error {
	d.settle()
	err := d.err
	d.err = nil
	return err
}

// Upload implements blas.Device.
func (d *Device) Upload(dst blas.Tensor, src []byte) {
	d.time("upload", blas.Cost{Bytes: int64(len(src))}, func() { d.Device.Upload(dst, src) })
}

// Download implements blas.Device.
func (d *Device) Download(dst []byte, src blas.Tensor) error {
	var err error
	d.time("download", blas.Cost{Bytes: int64(len(dst))}, func() { err = d.Device.Download(dst, src) })
	if d.err != nil {
		err, d.err = d.err, nil
	}
	return err
}

// Fetch implements blas.Device; while On it is a Download.
func (d *Device) Fetch(dst []byte, src blas.Tensor) func() error {
	if !d.On {
		return d.Device.Fetch(dst, src)
	}
	err := d.Download(dst, src)
	return func() error { return err }
}

// Record implements blas.Device: while On, a program's operations are issued one by one.
func (d *Device) Record(name string, issue func()) blas.Program {
	inner := d.Device.Record(name, issue)
	return blas.Replay(func() {
		if d.On {
			issue()
			return
		}
		inner.Run()
	})
}

// Zero implements blas.Device.
func (d *Device) Zero(t blas.Tensor) {
	d.time("zero", blas.Cost{Bytes: int64(t.Bytes())}, func() { d.Device.Zero(t) })
}

// The operations implement blas.Device, each under its own name and cost.

func (d *Device) Cast(o blas.Cast)                             { op(d, o, d.Device.Cast) }
func (d *Device) Gemm(o blas.Gemm)                             { op(d, o, d.Device.Gemm) }
func (d *Device) Patches(o blas.Patches)                       { op(d, o, d.Device.Patches) }
func (d *Device) Tokens(o blas.Tokens)                         { op(d, o, d.Device.Tokens) }
func (d *Device) TokensBackward(o blas.TokensBackward)         { op(d, o, d.Device.TokensBackward) }
func (d *Device) GatherRows(o blas.GatherRows)                 { op(d, o, d.Device.GatherRows) }
func (d *Device) ScatterRows(o blas.ScatterRows)               { op(d, o, d.Device.ScatterRows) }
func (d *Device) LayerNorm(o blas.LayerNorm)                   { op(d, o, d.Device.LayerNorm) }
func (d *Device) LayerNormBackward(o blas.LayerNormBackward)   { op(d, o, d.Device.LayerNormBackward) }
func (d *Device) LayerScale(o blas.LayerScale)                 { op(d, o, d.Device.LayerScale) }
func (d *Device) LayerScaleBackward(o blas.LayerScaleBackward) { op(d, o, d.Device.LayerScaleBackward) }
func (d *Device) RelPosBias(o blas.RelPosBias)                 { op(d, o, d.Device.RelPosBias) }
func (d *Device) RelPosBiasBackward(o blas.RelPosBiasBackward) { op(d, o, d.Device.RelPosBiasBackward) }
func (d *Device) Attention(o blas.Attention)                   { op(d, o, d.Device.Attention) }
func (d *Device) AttentionBackward(o blas.AttentionBackward)   { op(d, o, d.Device.AttentionBackward) }
func (d *Device) CosineLoss(o blas.CosineLoss)                 { op(d, o, d.Device.CosineLoss) }
func (d *Device) CosineLossBackward(o blas.CosineLossBackward) { op(d, o, d.Device.CosineLossBackward) }
func (d *Device) SmoothL1Loss(o blas.SmoothL1Loss)             { op(d, o, d.Device.SmoothL1Loss) }
func (d *Device) SmoothL1LossBackward(o blas.SmoothL1LossBackward) {
	op(d, o, d.Device.SmoothL1LossBackward)
}
func (d *Device) SumSquares(o blas.SumSquares)   { op(d, o, d.Device.SumSquares) }
func (d *Device) PrepareStep(o blas.PrepareStep) { op(d, o, d.Device.PrepareStep) }
func (d *Device) AdamW(o blas.AdamW)             { op(d, o, d.Device.AdamW) }
func (d *Device) EMA(o blas.EMA)                 { op(d, o, d.Device.EMA) }
