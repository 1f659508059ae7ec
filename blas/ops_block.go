package blas

// LayerNorm (Ba et al., arXiv 1607.06450): Y = (X - mean)·rstd·Weight + Bias over each row, rstd = 1/sqrt(var + Eps), var with
// divisor D. Statistics are kept for backward.
type LayerNorm struct {
	Y            Tensor // [M, D], compute
	Mean, Rstd   Tensor // [M], master
	X            Tensor // [M, D], master
	Weight, Bias Tensor // [D], master
	Eps          float64
}

func (l LayerNorm) Name() string { return "layer norm" }
func (l LayerNorm) Check() {
	op := checker(l.Name())
	checkNorm(op, l.X, l.Y, l.Mean, l.Rstd, l.Weight)
	op.shape("Bias", l.Bias, l.X.Cols())
	op.same("Bias", l.Bias, l.X)
	op.that(l.Eps > 0, "Eps must be positive")
}
func (l LayerNorm) Cost() Cost { return Cost{8 * int64(l.X.Len()), bytesOf(l.X, l.Y)} }

// LayerNormBackward: with x̂ = (X - mean)·rstd and g = DY·Weight,
//
//	dx = rstd·(g - mean_D(g) - x̂·mean_D(g·x̂)),  DWeight += sum_M DY·x̂,  DBias += sum_M DY.
//
// DX receives dx, or += dx with Accumulate, which is how the residual path joins. With Low, the new DX is also written in
// compute precision, times Keep[row/RowsPer] if given: what enters the branch below. KeepDY has the factors of the branch that DY is of: DY
// counts 0 for a dropped sample, and is 0 where the device does not skip. DX and Low are right for all rows.
type LayerNormBackward struct {
	DX             Tensor // [M, D], master
	Accumulate     bool
	DY             Tensor // [M, D], compute
	X              Tensor // [M, D], master
	Mean, Rstd     Tensor // [M], master
	Weight         Tensor // [D], master
	DWeight, DBias Tensor // [D], master
	Low            Tensor // [M, D], compute; optional
	Keep, KeepDY   Tensor // [M/RowsPer], master; optional, Keep with Low
	RowsPer        int    // rows of one sample
}

func (l LayerNormBackward) Name() string { return "layer norm backward" }
func (l LayerNormBackward) Check() {
	op := checker(l.Name())
	checkNorm(op, l.X, l.DY, l.Mean, l.Rstd, l.Weight)
	m, d := l.X.Rows(), l.X.Cols()
	op.shape("DX", l.DX, m, d)
	op.shape("DWeight", l.DWeight, d)
	op.shape("DBias", l.DBias, d)
	for _, t := range []Tensor{l.DX, l.DWeight, l.DBias} {
		op.same("DX, DWeight and DBias", t, l.X)
	}
	op.optional("Low", l.Low, m, d)
	op.same("Low", l.Low, l.DY)
	op.that(!l.Keep.Ok() || l.Low.Ok(), "Keep needs Low")
	op.keep(l.Keep, m, l.RowsPer)
	op.keep(l.KeepDY, m, l.RowsPer)
}
func (l LayerNormBackward) Cost() Cost {
	b := bytesOf(l.DX, l.DY, l.X, l.Low)
	if l.Accumulate {
		b += bytesOf(l.DX)
	}
	return Cost{14 * int64(l.X.Len()), b}
}

func checkNorm(op checker, x, y, mean, rstd, weight Tensor) {
	op.rank("X", x, 2)
	op.master("X", x)
	m, d := x.Rows(), x.Cols()
	op.shape("Y", y, m, d)
	op.compute("Y", y)
	op.shape("Mean", mean, m)
	op.shape("Rstd", rstd, m)
	op.shape("Weight", weight, d)
	for _, t := range []Tensor{mean, rstd, weight} {
		op.same("Mean, Rstd and Weight", t, x)
	}
}

// LayerScale folds the layer scale (Touvron et al., arXiv 2103.17239) into the linear layer that it follows:
// gamma ⊙ (x·Wᵀ + b) = x·(diag(gamma)·W)ᵀ + gamma ⊙ b, so the scale costs nothing per token. Once per step:
// ScaledWeight = diag(Gamma)·Weight, ScaledBias = Gamma ⊙ Bias.
type LayerScale struct {
	ScaledWeight Tensor // [O, I], compute
	ScaledBias   Tensor // [O], master
	Weight       Tensor // [O, I], master
	Bias, Gamma  Tensor // [O], master
}

func (l LayerScale) Name() string { return "layer scale" }
func (l LayerScale) Check() {
	op := checker(l.Name())
	checkScale(op, l.Weight, l.Bias, l.Gamma)
	op.shape("ScaledWeight", l.ScaledWeight, l.Weight.Rows(), l.Weight.Cols())
	op.compute("ScaledWeight", l.ScaledWeight)
	op.shape("ScaledBias", l.ScaledBias, l.Weight.Rows())
	op.same("ScaledBias", l.ScaledBias, l.Weight)
}
func (l LayerScale) Cost() Cost {
	return Cost{int64(l.Weight.Len()), bytesOf(l.ScaledWeight, l.Weight)}
}

// LayerScaleBackward turns the gradients of the scaled layer, complete for the step, into those of its parts:
//
//	DGamma += rowsum(DWeight ⊙ Weight) + DBias ⊙ Bias,  then  DWeight = diag(Gamma)·DWeight,  DBias = Gamma ⊙ DBias.
type LayerScaleBackward struct {
	DWeight     Tensor // [O, I], master; in: of ScaledWeight, out: of Weight
	DBias       Tensor // [O], master; likewise
	DGamma      Tensor // [O], master
	Weight      Tensor // [O, I], master
	Bias, Gamma Tensor // [O], master
}

func (l LayerScaleBackward) Name() string { return "layer scale backward" }
func (l LayerScaleBackward) Check() {
	op := checker(l.Name())
	checkScale(op, l.Weight, l.Bias, l.Gamma)
	op.shape("DWeight", l.DWeight, l.Weight.Rows(), l.Weight.Cols())
	op.shape("DBias", l.DBias, l.Weight.Rows())
	op.shape("DGamma", l.DGamma, l.Weight.Rows())
	for _, t := range []Tensor{l.DWeight, l.DBias, l.DGamma} {
		op.same("DWeight, DBias and DGamma", t, l.Weight)
	}
}
func (l LayerScaleBackward) Cost() Cost {
	return Cost{3 * int64(l.Weight.Len()), bytesOf(l.Weight) + 2*bytesOf(l.DWeight)}
}

func checkScale(op checker, weight, bias, gamma Tensor) {
	op.rank("Weight", weight, 2)
	op.master("Weight", weight)
	op.shape("Bias", bias, weight.Rows())
	op.shape("Gamma", gamma, weight.Rows())
	op.same("Bias", bias, weight)
	op.same("Gamma", gamma, weight)
}

// RelPosBias spreads the table of relative position biases (BEiT, modeling_pretrain.py's RelativePositionBias) over the pairs of
// tokens: Bias[h,i,j] = Table[Index[i,j], h]. Once per step, shared by all blocks.
type RelPosBias struct {
	Bias  Tensor // [H, N, N], master
	Table Tensor // [T, H], master
	Index Tensor // [N, N], I32, each in [0, T)
}

func (r RelPosBias) Name() string { return "relative position bias" }
func (r RelPosBias) Check()       { checkRelPos(checker(r.Name()), r.Bias, r.Table, r.Index) }
func (r RelPosBias) Cost() Cost   { return Cost{0, bytesOf(r.Bias, r.Index)} }

// RelPosBiasBackward: DTable[t,h] += sum of DBias[h,i,j] over the pairs with Index[i,j] = t.
type RelPosBiasBackward struct {
	DTable Tensor // [T, H], master
	DBias  Tensor // [H, N, N], master
	Index  Tensor // [N, N], I32
}

func (r RelPosBiasBackward) Name() string { return "relative position bias backward" }
func (r RelPosBiasBackward) Check()       { checkRelPos(checker(r.Name()), r.DBias, r.DTable, r.Index) }
func (r RelPosBiasBackward) Cost() Cost {
	return Cost{int64(r.DBias.Len()), bytesOf(r.DBias, r.Index)}
}

func checkRelPos(op checker, bias, table, index Tensor) {
	op.rank("Bias", bias, 3)
	op.master("Bias", bias)
	h, n := bias.Dim(0), bias.Dim(1)
	op.shape("Bias", bias, h, n, n)
	op.shape("Table", table, table.Rows(), h)
	op.same("Table", table, bias)
	op.shape("Index", index, n, n)
	op.types("Index", index, I32)
}
