package student

import "mvptargets/blas"

// Optimizer is AdamW with gradient clipping, its constants; the learning rate and the weight decay come with each step.
type Optimizer struct {
	Beta1, Beta2, Eps float64
	MaxNorm           float64 // clip the global gradient norm to this; 0 for no clipping
}

// Upload puts a micro-batch on the device. The lengths are the model's own: another is a bug.
func (m *Model) Upload(b *Batch) {
	m.dev.Upload(m.pixels, b.Pixels)
	if m.LossRows == 0 {
		return
	}
	if m.sharesEntry() {
		m.dev.Upload(m.entry.index, blas.Bytes(m.entryIndex(b.Mask)))
	} else {
		m.dev.Upload(m.mask, b.Mask)
	}
	rows := make([]int32, len(b.MaskIdx)) // from patch n·P+p to token n·N+1+p
	for i, r := range b.MaskIdx {
		n := r / int32(m.Patches())
		rows[i] = r + n + 1
	}
	m.dev.Upload(m.lossRows, blas.Bytes(rows))
	m.dev.Upload(m.target, blas.Bytes(b.Targets))
	if m.keep.Ok() {
		m.uploadFloats(m.keep, b.Keep)
	}
}

// uploadFloats uploads float32 values to a tensor of master type.
func (m *Model) uploadFloats(dst blas.Tensor, v []float32) {
	if dst.DType() == blas.F32 {
		m.dev.Upload(dst, blas.Bytes(v))
		return
	}
	wide := make([]float64, len(v))
	for i, x := range v {
		wide[i] = float64(x)
	}
	m.dev.Upload(dst, blas.Bytes(wide))
}

// programs are the parts of a step that no upload interrupts, recorded at their first use.
type programs struct {
	begin, micro, end blas.Program
	endOf             Optimizer // whose constants end has
}

func (m *Model) run(p *blas.Program, name string, issue func()) {
	if *p == nil {
		*p = m.dev.Record(name, issue)
	}
	(*p).Run()
}

// BeginStep clears the gradients and the loss.
func (m *Model) BeginStep() {
	m.run(&m.programs.begin, "begin step", func() {
		m.dev.Zero(m.Params.Grad)
		m.dev.Zero(m.loss)
		if m.RelPos {
			m.dev.Zero(m.dRelBias)
		}
	})
}

// MicroStep runs forward and backward on the uploaded micro-batch, adding to loss and gradients.
func (m *Model) MicroStep() {
	m.run(&m.programs.micro, "micro-batch", func() {
		m.forward()
		m.lossForward()
		m.backward()
	})
}

// EndStep completes the gradients of what Refresh had folded, clips, and updates the parameters with learning rate lr and weight
// decay wd. A step whose gradient is not finite changes nothing but the count of skipped steps.
func (m *Model) EndStep(o Optimizer, lr, wd float64) {
	m.uploadFloats(m.hyper, []float32{blas.HyperLR: float32(lr), blas.HyperWeightDecay: float32(wd)})
	if o != m.programs.endOf {
		m.programs.end, m.programs.endOf = nil, o
	}
	m.run(&m.programs.end, "end step", func() { m.update(o) })
}

// update is EndStep after its upload.
func (m *Model) update(o Optimizer) {
	m.finishGradients()
	p := m.Params
	m.dev.SumSquares(blas.SumSquares{Out: m.sumsq, X: p.Grad})
	m.dev.PrepareStep(blas.PrepareStep{State: m.state, SumSq: m.sumsq, MaxNorm: o.MaxNorm})
	a := blas.AdamW{Param: p.Value, Grad: p.Grad, M: p.M, V: p.V, Bounds: p.bounds, Factors: p.factors,
		Hyper: m.hyper, State: m.state, Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps}
	if p.Low != p.Value {
		a.Low = p.Low
	}
	m.dev.AdamW(a)
	m.fold()
}

// finishGradients turns the accumulated gradients of folded weights and of the spread position bias into those of the
// parameters themselves, and clears what rounding left in the place of the key bias.
func (m *Model) finishGradients() {
	if m.RelPos {
		m.dev.RelPosBiasBackward(blas.RelPosBiasBackward{DTable: m.grad("rel_pos_bias.relative_position_bias_table"), DBias: m.dRelBias, Index: m.relIndex})
	}
	for i := range m.blocks {
		n := blockName(i)
		m.dev.Zero(m.qkvBias(m.Params.Grad, n).Slice(m.Width, 2*m.Width))
		if m.LayerScale == 0 {
			continue
		}
		for _, s := range [][2]string{{"attn.proj", "gamma_1"}, {"mlp.fc2", "gamma_2"}} {
			w, b, g := n+s[0]+".weight", n+s[0]+".bias", n+s[1]
			m.dev.LayerScaleBackward(blas.LayerScaleBackward{DWeight: m.grad(w), DBias: m.grad(b), DGamma: m.grad(g),
				Weight: m.value(w), Bias: m.value(b), Gamma: m.value(g)})
		}
	}
}

// StepResult is what a step tells the log.
type StepResult struct {
	Loss    float64 // mean over the step
	Norm    float64 // global gradient norm before clipping
	Applied int     // updates applied since the start of the run
	Skipped int     // updates skipped since then, their gradient not finite
}

// Figures begins to read the figures of the step that was issued last; wait gives them when the device has come there, whatever is
// issued in between.
func (m *Model) Figures() (wait func() (StepResult, error)) {
	raw := make([]byte, m.figures.Bytes())
	arrived := m.dev.Fetch(raw, m.figures)
	return func() (StepResult, error) {
		if err := arrived(); err != nil {
			return StepResult{}, err
		}
		v := blas.Decode(m.figures.DType(), raw)
		return StepResult{Loss: v[blas.StateLen], Norm: v[blas.StateNorm], Applied: int(v[blas.StateSteps]), Skipped: int(v[blas.StateSkipped])}, nil
	}
}

// Result waits for the step that was issued last and gives its figures.
func (m *Model) Result() (StepResult, error) { return m.Figures()() }

// Encode runs the encoder without a mask on the uploaded pixels; Features then reads any layer. For models built with LossRows 0.
func (m *Model) Encode() { m.forward() }

// Features is the residual stream behind block layer (0-based), or, for layer = Depth, the final norm of the last: [B, N, D].
func (m *Model) Features(layer int) ([]float64, error) {
	switch {
	case layer == m.Depth:
		return blas.Get(m.dev, m.hn)
	case layer == m.Depth-1:
		return blas.Get(m.dev, m.out)
	}
	return blas.Get(m.dev, m.blocks[layer+1].x)
}
