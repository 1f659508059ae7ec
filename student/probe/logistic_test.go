package probe

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"mvptargets/blas"
	"mvptargets/student"
)

// golden reads testdata/logistic.safetensors (see make_logistic.py) as float64 and integers.
func golden(t *testing.T) (map[string][]float64, map[string][]int32) {
	t.Helper()
	file, err := student.ReadTensors("testdata/logistic.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	numbers, integers := map[string][]float64{}, map[string][]int32{}
	for _, x := range file.Tensors {
		switch x.DType {
		case "F64":
			numbers[x.Name] = blas.Decode(blas.F64, x.Data)
		case "U8":
			numbers[x.Name] = blas.Decode(blas.U8, x.Data)
		case "I32":
			for i := 0; i < len(x.Data); i += 4 {
				integers[x.Name] = append(integers[x.Name], int32(binary.LittleEndian.Uint32(x.Data[i:])))
			}
		}
	}
	return numbers, integers
}

// Weaker penalties leave flatter optima, hence the tolerance that grows with C; the weights grow with it too. The objective is convex with one
// optimum, so weights agree as far as both have converged: ours to a scaled gradient of 1e-5, whose weights are off by a small multiple of it.
func TestAgainstScikitLearn(t *testing.T) {
	const dim, classes, train = 64, 10, 1200
	g, integers := golden(t)
	y := integers["y"]
	x := make([]float32, len(g["x"]))
	for i, v := range g["x"] {
		x[i] = float32(v)
	}
	rows := every(len(y))
	s := FitStandardizer(x, dim, rows[:train])
	a, b := s.Apply(x, rows[:train]), s.Apply(x, rows[train:])
	trainer, err := NewTrainer(a, y[:train], dim, classes)
	if err != nil {
		t.Fatal(err)
	}
	var model *Logistic
	for i, c := range g["c"] {
		n := strconv.Itoa(i)
		model, err = trainer.Fit(c, model)
		if err != nil {
			t.Fatal(err)
		}
		want, got := accuracy(integers["predicted."+n], y[train:]), accuracy(model.Predict(b), y[train:])
		if d := math.Abs(want.Accuracy-got.Accuracy) * float64(got.N); d > 1 {
			t.Errorf("C %g: accuracy %v, scikit-learn %v", c, got, want)
		}
		for j, w := range g["weight."+n] {
			if d := math.Abs(w - model.Weight[j]); d > 1e-3+1e-2*min(c, 50) {
				t.Errorf("C %g: weight %d is %g, scikit-learn's %g", c, j, model.Weight[j], w)
				break
			}
		}
		worst := 0.0
		for k, v := range g["bias."+n] {
			worst = max(worst, math.Abs(v-model.Weight[classes*dim+k]))
		}
		if worst > 1e-3+2e-2*min(c, 50) {
			t.Errorf("C %g: biases are off by %g", c, worst)
		}
		t.Logf("C %g: %v, scikit-learn %v; %d iterations", c, got, want, model.Iterations)
	}
}

func TestGradient(t *testing.T) {
	const n, dim, classes = 7, 3, 4
	r := rand.New(rand.NewPCG(1, 1))
	x, w, y := make([]float64, n*dim), make([]float64, classes*(dim+1)), make([]int32, n)
	for _, v := range [][]float64{x, w} {
		for i := range v {
			v[i] = r.NormFloat64()
		}
	}
	for i := range y {
		y[i] = int32(r.IntN(classes))
	}
	trainer, err := NewTrainer(x, y, dim, classes)
	if err != nil {
		t.Fatal(err)
	}
	o := trainer.objective(0.3, 0.2)
	o.eval(w)
	grad := append([]float64(nil), o.grad...)
	for i := range w {
		const h = 1e-5
		at := func(d float64) float64 {
			v := append([]float64(nil), w...)
			v[i] += d
			o.eval(v)
			return o.value
		}
		if d := (at(h) - at(-h)) / (2 * h); math.Abs(d-grad[i]) > 1e-8 {
			t.Errorf("gradient %d is %g, by differences %g", i, grad[i], d)
		}
	}
}

func TestStandardizer(t *testing.T) {
	x := []float32{1, 7, 3, 7, 5, 7, 100, 100}
	s := FitStandardizer(x, 2, []int{0, 1, 2})
	want := []float64{-math.Sqrt(1.5), 0, 97 / math.Sqrt(8./3), 0}
	for i, v := range s.Apply(x, []int{0, 3}) {
		if math.Abs(v-want[i]) > 1e-12 {
			t.Errorf("number %d is %g, want %g", i, v, want[i])
		}
	}
}

// BenchmarkFit is a layer of ViT-B/16 on 5,000 images of 100 classes: the eigenvectors, then iterations at a middling C.
func BenchmarkFit(b *testing.B) {
	const n, dim, classes = 5000, 1536, 100
	r := rand.New(rand.NewPCG(1, 2))
	x, y := make([]float64, n*dim), make([]int32, n)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	for i := range y {
		y[i] = int32(r.IntN(classes))
	}
	for b.Loop() {
		trainer, err := NewTrainer(x, y, dim, classes)
		if err != nil {
			b.Fatal(err)
		}
		prepared := b.Elapsed()
		model, err := trainer.Fit(1e-1, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(prepared.Seconds(), "s/eigenvectors")
		b.ReportMetric((b.Elapsed()-prepared).Seconds()/float64(model.Iterations), "s/iteration")
		b.ReportMetric(float64(model.Iterations), "iterations")
	}
}
