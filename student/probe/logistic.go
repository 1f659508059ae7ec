package probe

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
)

// Logistic is a multinomial logistic regression: logits = W·x + b.
type Logistic struct {
	Dim, Classes int
	Weight       []float64 // [C, d] row-major, then the C biases
	Iterations   int
}

// Trainer fits logistic regressions to one set of features. The objective is scikit-learn's (LogisticRegression, lbfgs) over C·n, so
// that the gradient's size does not depend on n:
//
//	1/n Σ_i -log softmax(W·x_i + b)[y_i]  +  ‖W‖² / (2·C·n)
//
// The biases are not regularised. Features of neighbouring tokens are strongly correlated, which makes L-BFGS slow in W itself. It
// runs in the eigenbasis of the features' covariance instead, each coordinate divided by the root of its curvature at W = 0. That
// changes the path to the optimum, not the optimum.
type Trainer struct {
	dim, classes int
	x            blas64.General // [n, d], rotated: X·V
	y            []int32
	vectors      mat.Dense // V [d, d]
	values       []float64 // the covariance's eigenvalues
}

// NewTrainer takes features x [n, dim], standardized, with labels y in 0..classes-1.
func NewTrainer(x []float64, y []int32, dim, classes int) (*Trainer, error) {
	n := len(y)
	raw := blas64.General{Rows: n, Cols: dim, Stride: dim, Data: x}
	covariance := mat.NewSymDense(dim, nil)
	blas64.Syrk(blas.Trans, 1/float64(n), raw, 0, covariance.RawSymmetric())
	if trace := mat.Trace(covariance); math.IsNaN(trace) || math.IsInf(trace, 0) {
		return nil, errors.New("the features are not finite: did the training diverge?")
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(covariance, true) {
		return nil, errors.New("logistic regression: the eigenvalues of the features' covariance do not converge")
	}
	t := &Trainer{dim: dim, classes: classes, y: y, values: eigen.Values(nil),
		x: blas64.General{Rows: n, Cols: dim, Stride: dim, Data: make([]float64, n*dim)}}
	eigen.VectorsTo(&t.vectors)
	blas64.Gemm(blas.NoTrans, blas.NoTrans, 1, raw, t.vectors.RawMatrix(), 0, t.x)
	return t, nil
}

// objective is the function that L-BFGS sees, of u [C, d] and biases, both in scaled coordinates: W = (u·scale)·Vᵀ.
type objective struct {
	*Trainer
	c         float64
	scale     []float64 // [d]
	biasScale float64

	w      blas64.General // [C, d] u·scale
	logits blas64.General // [n, C], then the gradient in the logits
	at     []float64      // where value and gradient were computed last
	value  float64
	grad   []float64
}

// objective scales by the curvature given, that of the softmax's logarithm in the logits.
func (t *Trainer) objective(c, curvature float64) *objective {
	n, d, k := t.x.Rows, t.dim, t.classes
	o := &objective{Trainer: t, c: c, scale: make([]float64, d), grad: make([]float64, k*(d+1)),
		w:      blas64.General{Rows: k, Cols: d, Stride: d, Data: make([]float64, k*d)},
		logits: blas64.General{Rows: n, Cols: k, Stride: k, Data: make([]float64, n*k)}}
	for j, v := range t.values {
		o.scale[j] = 1 / math.Sqrt(curvature*max(v, 0)+1/(c*float64(n)))
	}
	o.biasScale = 1 / math.Sqrt(curvature)
	return o
}

// place writes u's weights to o.w.
func (o *objective) place(u []float64) {
	for i, v := range u[:len(o.w.Data)] {
		o.w.Data[i] = v * o.scale[i%o.dim]
	}
}

// eval computes value and gradient at u, once for the two calls that the optimizer makes.
func (o *objective) eval(u []float64) {
	if o.at != nil && floats.Equal(o.at, u) {
		return
	}
	o.at = append(o.at[:0], u...)
	o.place(u)
	n, end := float64(o.x.Rows), o.classes*o.dim
	biases, dBiases := u[end:], o.grad[end:]
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, o.x, o.w, 0, o.logits)
	clear(dBiases)
	loss := 0.0
	for i, y := range o.y {
		z := o.logits.Data[i*o.classes : (i+1)*o.classes]
		floats.AddScaled(z, o.biasScale, biases)
		sum := floats.LogSumExp(z)
		loss += sum - z[y]
		for k := range z {
			z[k] = math.Exp(z[k]-sum) / n
		}
		z[y] -= 1 / n
		floats.AddScaled(dBiases, o.biasScale, z)
	}
	decay := 1 / (o.c * n)
	dw := blas64.General{Rows: o.classes, Cols: o.dim, Stride: o.dim, Data: o.grad[:end]}
	blas64.Gemm(blas.Trans, blas.NoTrans, 1, o.logits, o.x, 0, dw)
	for i, w := range o.w.Data {
		dw.Data[i] = (dw.Data[i] + decay*w) * o.scale[i%o.dim]
	}
	norm := floats.Norm(o.w.Data, 2)
	o.value = loss/n + decay/2*norm*norm
}

// Limits of the optimizer. The gradient's largest entry, in the scaled coordinates, is at most gradTolerance at the end.
const (
	gradTolerance = 1e-5
	maxIterations = 2000
)

// start gives from in the trainer's basis, [C, d] and biases, and the mean curvature of the softmax's logarithm there. Where from is nil all
// is zero, and all classes are alike.
func (t *Trainer) start(from *Logistic) (w []float64, curvature float64) {
	w = make([]float64, t.classes*(t.dim+1))
	if from == nil {
		share := 1 / float64(t.classes)
		return w, share * (1 - share)
	}
	end := t.classes * t.dim
	rotated := blas64.General{Rows: t.classes, Cols: t.dim, Stride: t.dim, Data: w[:end]}
	blas64.Gemm(blas.NoTrans, blas.NoTrans, 1, blas64.General{Rows: t.classes, Cols: t.dim, Stride: t.dim, Data: from.Weight[:end]}, t.vectors.RawMatrix(), 0, rotated)
	copy(w[end:], from.Weight[end:])
	z := blas64.General{Rows: t.x.Rows, Cols: t.classes, Stride: t.classes, Data: make([]float64, t.x.Rows*t.classes)}
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, t.x, rotated, 0, z)
	for i := range t.x.Rows {
		row := z.Data[i*t.classes : (i+1)*t.classes]
		floats.Add(row, w[end:])
		sum := floats.LogSumExp(row)
		for _, v := range row {
			p := math.Exp(v - sum)
			curvature += p * (1 - p)
		}
	}
	return w, curvature / float64(len(z.Data))
}

// Fit trains by L-BFGS. c is the inverse strength of the L2 penalty, as scikit-learn's C. It begins with from, nil for zero: the optimum
// of a stronger penalty is near, and shows how steep the objective is where it ends.
func (t *Trainer) Fit(c float64, from *Logistic) (*Logistic, error) {
	u, curvature := t.start(from)
	o := t.objective(c, curvature)
	for i := range u[:t.classes*t.dim] {
		u[i] /= o.scale[i%t.dim]
	}
	floats.Scale(1/o.biasScale, u[t.classes*t.dim:])
	problem := optimize.Problem{
		Func: func(u []float64) float64 { o.eval(u); return o.value },
		Grad: func(grad, u []float64) { o.eval(u); copy(grad, o.grad) },
	}
	result, err := optimize.Minimize(problem, u, &optimize.Settings{GradientThreshold: gradTolerance,
		MajorIterations: maxIterations, Converger: optimize.NeverTerminate{}}, &optimize.LBFGS{Store: 10})
	if result == nil {
		return nil, fmt.Errorf("logistic regression: %w", err)
	}
	o.eval(result.X)
	if largest := floats.Norm(o.grad, math.Inf(1)); !(largest <= 10*gradTolerance) { // a line search may end in rounding just before
		return nil, fmt.Errorf("logistic regression did not converge in %d iterations: its gradient is %.1e (%v)", result.MajorIterations, largest, errors.Join(err, result.Status.Err()))
	}
	l := &Logistic{Dim: t.dim, Classes: t.classes, Iterations: result.MajorIterations, Weight: make([]float64, t.classes*(t.dim+1))}
	end := t.classes * t.dim
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, o.w, t.vectors.RawMatrix(), 0, blas64.General{Rows: t.classes, Cols: t.dim, Stride: t.dim, Data: l.Weight[:end]})
	for k, b := range result.X[end:] {
		l.Weight[end+k] = b * o.biasScale
	}
	return l, nil
}

// Predict gives the likeliest class of each row of x [n, dim].
func (l *Logistic) Predict(x []float64) []int32 {
	n := len(x) / l.Dim
	end := l.Classes * l.Dim
	logits := blas64.General{Rows: n, Cols: l.Classes, Stride: l.Classes, Data: make([]float64, n*l.Classes)}
	if n == 0 {
		return nil
	}
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, blas64.General{Rows: n, Cols: l.Dim, Stride: l.Dim, Data: x},
		blas64.General{Rows: l.Classes, Cols: l.Dim, Stride: l.Dim, Data: l.Weight[:end]}, 0, logits)
	out := make([]int32, n)
	for i := range out {
		z := logits.Data[i*l.Classes : (i+1)*l.Classes]
		floats.Add(z, l.Weight[end:])
		out[i] = int32(floats.MaxIdx(z))
	}
	return out
}

// Standardizer makes every feature's mean 0 and deviation 1 over the rows it was fitted to; a constant feature becomes 0.
type Standardizer struct{ Mean, Scale []float64 }

// FitStandardizer measures x [n, dim] at the rows given.
func FitStandardizer(x []float32, dim int, rows []int) Standardizer {
	s := Standardizer{make([]float64, dim), make([]float64, dim)}
	for _, i := range rows {
		for j, v := range x[i*dim : (i+1)*dim] {
			s.Mean[j] += float64(v)
		}
	}
	floats.Scale(1/float64(len(rows)), s.Mean)
	for _, i := range rows {
		for j, v := range x[i*dim : (i+1)*dim] {
			d := float64(v) - s.Mean[j]
			s.Scale[j] += d * d
		}
	}
	for j, v := range s.Scale {
		s.Scale[j] = 0
		if deviation := math.Sqrt(v / float64(len(rows))); deviation > 1e-12*math.Abs(s.Mean[j]) && deviation > 0 {
			s.Scale[j] = 1 / deviation
		}
	}
	return s
}

// Apply gives the rows of x, standardized, [len(rows), dim].
func (s Standardizer) Apply(x []float32, rows []int) []float64 {
	dim := len(s.Mean)
	out := make([]float64, 0, len(rows)*dim)
	for _, i := range rows {
		for j, v := range x[i*dim : (i+1)*dim] {
			out = append(out, (float64(v)-s.Mean[j])*s.Scale[j])
		}
	}
	return out
}
