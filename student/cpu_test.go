package student

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
)

// onProcessor trains the small golden model for some steps and returns their losses.
func onProcessor(t *testing.T, compute blas.DType, steps int, after func(step int)) []float64 {
	t.Helper()
	m, _ := goldenModelOn(t, processor(t), compute)
	defer m.Close()
	return goldenSmall.losses(t, m, steps, func(step int, _ StepResult) {
		if after != nil {
			after(step)
		}
	})
}

// processor is the CPU device on the path that it takes by itself.
func processor(t *testing.T) *cpu.Device {
	t.Helper()
	return processorOn(t, "")
}

// processorOn is the CPU device on a path, or skips where this processor has none.
func processorOn(t *testing.T, path string) *cpu.Device {
	t.Helper()
	t.Setenv("MVP_CPU", path)
	dev, err := cpu.New(cpu.Options{})
	if err != nil && strings.Contains(err.Error(), "this processor offers") {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// Equal weights, batches and number of threads give equal losses, to the last bit: each run on a device of its own, the small model for
// ten steps, blocks of B/16's shape, large enough for every thread, for two.
func TestSameSeedSameLosses(t *testing.T) {
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		run := func(c goldenCase, steps int) []float64 {
			dev, err := cpu.New(cpu.Options{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			m, _ := c.on(t, dev, compute)
			defer m.Close()
			return c.losses(t, m, steps, nil)
		}
		a, b := append(run(goldenSmall, 10), run(goldenB16, 2)...), append(run(goldenSmall, 10), run(goldenB16, 2)...)
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
