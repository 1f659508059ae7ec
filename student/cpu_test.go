package student

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
)

var goldenOptimizer = Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: 0.3}

// onProcessor trains the golden model for some steps and returns their losses.
func onProcessor(t *testing.T, compute blas.DType, steps int, after func(step int)) (losses []float64, g golden) {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	m, g := goldenModelOn(t, dev, compute)
	defer m.Close()
	for step := range steps {
		m.BeginStep()
		m.MicroStep()
		m.EndStep(goldenOptimizer, float64(float32(1e-2)), float64(float32(0.05)))
		r, err := m.Result()
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, r.Loss)
		if after != nil {
			after(step)
		}
	}
	return losses, g
}

// Float32 rounds each stored value by 6e-8; ten steps of a steep model at learning rate 1e-2 multiply that. 1e-5 is what is asked of a loss.
func TestProcessorsStepsEqualPyTorch(t *testing.T) {
	losses, g := onProcessor(t, blas.F32, 10, nil)
	for step, want := range g["losses"] {
		if math.Abs(losses[step]-want) > 1e-5*want {
			t.Errorf("step %d: loss %.9f, PyTorch's is %.9f", step, losses[step], want)
		}
	}
}

func TestSameSeedSameLosses(t *testing.T) {
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		a, _ := onProcessor(t, compute, 10, nil)
		b, _ := onProcessor(t, compute, 10, nil)
		if !slices.Equal(a, b) {
			t.Errorf("%v: two runs gave %v and %v", compute, a, b)
		}
	}
}

// A thousand steps may not take more memory than the first hundred did.
func TestMemoryDoesNotGrow(t *testing.T) {
	if testing.Short() {
		t.Skip("1000 steps")
	}
	var first int
	onProcessor(t, blas.BF16, 1000, func(step int) {
		if step == 100 {
			first = residentPages(t)
		}
		if step == 999 {
			if grown := (residentPages(t) - first) * os.Getpagesize(); grown > 16<<20 {
				t.Errorf("900 steps took %d bytes more", grown)
			}
		}
	})
}

func residentPages(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.Fields(string(raw))[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
