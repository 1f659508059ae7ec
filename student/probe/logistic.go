package probe

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/optimize"
)

// Logistic is a multinomial logistic regression: logits = W·x + b.
type Logistic struct {
	Dim, Classes int
	Weight       []float64 // [C, d] row-major, then the C biases
	Iterations   int
}

// objective is scikit-learn's (LogisticRegression, lbfgs) divided by C·n, so that the gradient's size does not depend on n:
//
//	1/n Σ_i -log softmax(W·x_i + b)[y_i]  +  ‖W‖² / (2·C·n)
//
// The biases are not regularised.
type objective struct {
	x       blas64.General // [n, d]
	y       []int32
	classes int
	c       float64

	logits blas64.General // [n, C], then the gradient in the logits
	at     []float64      // where value and gradient were computed last
	value  float64
	grad   []float64
}

func newObjective(x []float64, y []int32, dim, classes int, c float64) *objective {
	n := len(y)
	return &objective{x: blas64.General{Rows: n, Cols: dim, Stride: dim, Data: x}, y: y, classes: classes, c: c,
		logits: blas64.General{Rows: n, Cols: classes, Stride: classes, Data: make([]float64, n*classes)}, grad: make([]float64, classes*(dim+1))}
}

func (o *objective) matrix(w []float64) blas64.General {
	return blas64.General{Rows: o.classes, Cols: o.x.Cols, Stride: o.x.Cols, Data: w[:o.classes*o.x.Cols]}
}

// eval computes value and gradient at w, once for the two calls that the optimizer makes.
func (o *objective) eval(w []float64) {
	if o.at != nil && floats.Equal(o.at, w) {
		return
	}
	o.at = append(o.at[:0], w...)
	n, end := float64(o.x.Rows), o.classes*o.x.Cols
	biases, dBiases := w[end:], o.grad[end:]
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, o.x, o.matrix(w), 0, o.logits)
	clear(dBiases)
	loss := 0.0
	for i, y := range o.y {
		z := o.logits.Data[i*o.classes : (i+1)*o.classes]
		floats.Add(z, biases)
		sum := floats.LogSumExp(z)
		loss += sum - z[y]
		for k := range z {
			z[k] = math.Exp(z[k]-sum) / n
		}
		z[y] -= 1 / n
		floats.Add(dBiases, z)
	}
	decay := 1 / (o.c * n)
	blas64.Gemm(blas.Trans, blas.NoTrans, 1, o.logits, o.x, 0, o.matrix(o.grad))
	floats.AddScaled(o.grad[:end], decay, w[:end])
	norm := floats.Norm(w[:end], 2)
	o.value = loss/n + decay/2*norm*norm
}

// Limits of the optimizer. The gradient's largest entry is at most gradTolerance at the end: a tenth of scikit-learn's default.
const (
	gradTolerance = 1e-5
	maxIterations = 2000
)

// Fit trains on features x [n, dim] with labels y in 0..classes-1 by L-BFGS. c is the inverse strength of the L2 penalty, as
// scikit-learn's C. start is the solution of a neighbouring c, or nil.
func Fit(x []float64, y []int32, dim, classes int, c float64, start *Logistic) (*Logistic, error) {
	o := newObjective(x, y, dim, classes, c)
	w := make([]float64, classes*(dim+1))
	if start != nil {
		copy(w, start.Weight)
	}
	problem := optimize.Problem{
		Func: func(w []float64) float64 { o.eval(w); return o.value },
		Grad: func(grad, w []float64) { o.eval(w); copy(grad, o.grad) },
	}
	result, err := optimize.Minimize(problem, w, &optimize.Settings{GradientThreshold: gradTolerance, MajorIterations: maxIterations,
		Converger: optimize.NeverTerminate{}}, &optimize.LBFGS{Store: 10})
	if result == nil {
		return nil, fmt.Errorf("logistic regression: %w", err)
	}
	l := &Logistic{Dim: dim, Classes: classes, Weight: result.X, Iterations: result.MajorIterations}
	if result.Status == optimize.GradientThreshold {
		return l, nil
	}
	o.eval(result.X)
	if largest := floats.Norm(o.grad, math.Inf(1)); !(largest <= 10*gradTolerance) { // a line search may end in rounding just before
		return nil, fmt.Errorf("logistic regression did not converge in %d iterations: its gradient is %.1e (%v)", l.Iterations, largest, errors.Join(err, result.Status.Err()))
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
