package blas

// CosineLoss adds the mean of 1 - cos over rows: Loss[0] += Scale·sum_r (1 - cos(Pred_r, Target_r)), with
// cos = p·t / (max(|p|, 1e-8)·max(|t|, 1e-8)) as torch.nn.functional.cosine_similarity. Scale is 1/R for one micro-batch of R
// rows, 1/(R·n) where n of them make a step. (The loss of EVA, arXiv 2211.07636, and BEiT v2, arXiv 2208.06366.)
type CosineLoss struct {
	Loss   Tensor // [1], master
	Stats  Tensor // [R, 3], master: cos, 1/max(|p|, 1e-8), 1/max(|t|, 1e-8), kept for backward
	Pred   Tensor // [R, K], compute
	Target Tensor // [R, K], F16 or master
	Scale  float64
}

func (l CosineLoss) Name() string { return "cosine loss" }
func (l CosineLoss) Check() {
	op := checker(l.Name())
	checkLoss(op, l.Loss, l.Pred, l.Target)
	op.shape("Stats", l.Stats, l.Pred.Rows(), 3)
	op.master("Stats", l.Stats)
}
func (l CosineLoss) Cost() Cost { return Cost{6 * int64(l.Pred.Len()), bytesOf(l.Pred, l.Target)} }

// CosineLossBackward: DPred_r = -Scale·(t̂_r - cos_r·p̂_r)/|p_r|, hats of unit length.
type CosineLossBackward struct {
	DPred  Tensor // [R, K], compute
	Stats  Tensor // [R, 3], master
	Pred   Tensor // [R, K], compute
	Target Tensor // [R, K], F16 or master
	Scale  float64
}

func (l CosineLossBackward) Name() string { return "cosine loss backward" }
func (l CosineLossBackward) Check() {
	op := checker(l.Name())
	checkLoss(op, Tensor{}, l.Pred, l.Target)
	op.shape("Stats", l.Stats, l.Pred.Rows(), 3)
	op.shape("DPred", l.DPred, l.Pred.Rows(), l.Pred.Cols())
	op.same("DPred", l.DPred, l.Pred)
}
func (l CosineLossBackward) Cost() Cost {
	return Cost{4 * int64(l.Pred.Len()), bytesOf(l.DPred, l.Pred, l.Target)}
}

// SmoothL1Loss: Loss[0] += Scale·sum over elements of (d²/(2·Beta) if |d| < Beta else |d| - Beta/2), d = Pred - Target, as
// torch.nn.functional.smooth_l1_loss. Scale is 1/(R·K) for the mean over elements.
type SmoothL1Loss struct {
	Loss   Tensor // [1], master
	Pred   Tensor // [R, K], compute
	Target Tensor // [R, K], F16 or master
	Beta   float64
	Scale  float64
}

func (l SmoothL1Loss) Name() string { return "smooth l1 loss" }
func (l SmoothL1Loss) Check() {
	op := checker(l.Name())
	checkLoss(op, l.Loss, l.Pred, l.Target)
	op.that(l.Beta > 0, "Beta must be positive")
}
func (l SmoothL1Loss) Cost() Cost { return Cost{4 * int64(l.Pred.Len()), bytesOf(l.Pred, l.Target)} }

// SmoothL1LossBackward: DPred = Scale·clamp((Pred - Target)/Beta, -1, 1).
type SmoothL1LossBackward struct {
	DPred  Tensor // [R, K], compute
	Pred   Tensor // [R, K], compute
	Target Tensor // [R, K], F16 or master
	Beta   float64
	Scale  float64
}

func (l SmoothL1LossBackward) Name() string { return "smooth l1 loss backward" }
func (l SmoothL1LossBackward) Check() {
	op := checker(l.Name())
	checkLoss(op, Tensor{}, l.Pred, l.Target)
	op.shape("DPred", l.DPred, l.Pred.Rows(), l.Pred.Cols())
	op.same("DPred", l.DPred, l.Pred)
	op.that(l.Beta > 0, "Beta must be positive")
}
func (l SmoothL1LossBackward) Cost() Cost {
	return Cost{4 * int64(l.Pred.Len()), bytesOf(l.DPred, l.Pred, l.Target)}
}

func checkLoss(op checker, loss, pred, target Tensor) {
	op.rank("Pred", pred, 2)
	op.compute("Pred", pred)
	op.shape("Target", target, pred.Rows(), pred.Cols())
	op.types("Target", target, F16, F32, F64)
	op.optional("Loss", loss, 1)
	op.master("Loss", loss)
}

// SumSquares: Out[0] = sum of X². Over the flat gradient this is the squared global norm.
type SumSquares struct {
	Out Tensor // [1], master
	X   Tensor // [n], master
}

func (s SumSquares) Name() string { return "sum of squares" }
func (s SumSquares) Check() {
	op := checker(s.Name())
	op.shape("Out", s.Out, 1)
	op.rank("X", s.X, 1)
	op.master("X", s.X)
	op.same("Out", s.Out, s.X)
}
func (s SumSquares) Cost() Cost { return Cost{2 * int64(s.X.Len()), bytesOf(s.X)} }

// Places in the optimizer's State tensor.
const (
	StateSteps   = iota // updates applied so far
	StateSkipped        // updates skipped because the gradient was not finite
	StateNorm           // global gradient norm of the last step, before clipping
	StateClip           // factor for the gradients of this step; 0 means: skip the update
	StateLen
)

// PrepareStep decides what the optimizer does with this step's gradient: norm = sqrt(SumSq). Finite: State[steps]++,
// clip = min(1, MaxNorm/(norm + 1e-6)) as torch.nn.utils.clip_grad_norm_ (1 where MaxNorm is 0). Not finite:
// State[skipped]++, clip = 0.
type PrepareStep struct {
	State   Tensor // [StateLen], master
	SumSq   Tensor // [1], master
	MaxNorm float64
}

func (p PrepareStep) Name() string { return "prepare step" }
func (p PrepareStep) Check() {
	op := checker(p.Name())
	op.shape("State", p.State, StateLen)
	op.master("State", p.State)
	op.shape("SumSq", p.SumSq, 1)
	op.same("SumSq", p.SumSq, p.State)
	op.that(p.MaxNorm >= 0, "MaxNorm must not be negative")
}
func (p PrepareStep) Cost() Cost { return Cost{} }

// Places in the optimizer's Hyper tensor, uploaded before each step.
const (
	HyperLR          = iota // learning rate
	HyperWeightDecay        // weight decay
	HyperLen
)

// AdamW (Loshchilov & Hutter, arXiv 1711.05101, as torch.optim.AdamW) over all parameters at once, laid end to end. With
// g = clip·Grad, t = State[steps], and lr, wd the schedule's values times the segment's factors:
//
//	p -= lr·wd·p;  m = b1·m + (1-b1)·g;  v = b2·v + (1-b2)·g²;  p -= lr·(m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps)
//
// and, where Low is present, Low = p in compute precision. A clip of 0 in State leaves everything but Low as it was.
// Segment s covers elements Bounds[s] to Bounds[s+1]; a factor of 0 for the learning rate freezes it.
type AdamW struct {
	Param, Grad, M, V Tensor // [n], master
	Low               Tensor // [n], compute; optional
	Bounds            Tensor // [S+1], I32, ascending from 0 to n
	Factors           Tensor // [S, 2], master: learning rate factor, weight decay factor
	Hyper             Tensor // [HyperLen], master
	State             Tensor // [StateLen], master
	Beta1, Beta2, Eps float64
}

func (a AdamW) Name() string { return "adamw" }
func (a AdamW) Check() {
	op := checker(a.Name())
	op.rank("Param", a.Param, 1)
	op.master("Param", a.Param)
	n := a.Param.Len()
	for _, t := range []Tensor{a.Grad, a.M, a.V} {
		op.shape("Grad, M and V", t, n)
		op.same("Grad, M and V", t, a.Param)
	}
	op.optional("Low", a.Low, n)
	op.compute("Low", a.Low)
	op.rank("Bounds", a.Bounds, 1)
	op.types("Bounds", a.Bounds, I32)
	op.shape("Factors", a.Factors, a.Bounds.Len()-1, 2)
	op.same("Factors", a.Factors, a.Param)
	op.shape("Hyper", a.Hyper, HyperLen)
	op.same("Hyper", a.Hyper, a.Param)
	op.shape("State", a.State, StateLen)
	op.same("State", a.State, a.Param)
}
func (a AdamW) Cost() Cost {
	return Cost{14 * int64(a.Param.Len()), bytesOf(a.Grad, a.Low) + 2*bytesOf(a.Param, a.M, a.V)}
}

// EMA is an exponential moving average of the parameters: Avg = Decay·Avg + (1-Decay)·Param.
type EMA struct {
	Avg, Param Tensor // [n], master
	Decay      float64
}

func (e EMA) Name() string { return "ema" }
func (e EMA) Check() {
	op := checker(e.Name())
	op.rank("Avg", e.Avg, 1)
	op.master("Avg", e.Avg)
	op.shape("Param", e.Param, e.Avg.Len())
	op.same("Param", e.Param, e.Avg)
	op.that(e.Decay >= 0 && e.Decay <= 1, "Decay must be between 0 and 1")
}
func (e EMA) Cost() Cost { return Cost{3 * int64(e.Avg.Len()), bytesOf(e.Param) + 2*bytesOf(e.Avg)} }
