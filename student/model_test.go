package student

import (
	"math"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cuda"
	"mvptargets/blas/cuda/emulator"
	"mvptargets/blas/ref"
)

// gpu is the CUDA device on the emulated GPU.
func gpu(t *testing.T) (*cuda.Device, *emulator.Device) {
	t.Helper()
	steer := emulator.Use(t)
	dev, err := cuda.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dev.Close()
		if wrong := steer.Finish(); wrong != "" && !strings.Contains(wrong, "injected") {
			t.Error(wrong)
		}
	})
	return dev, steer
}

// Two micro-batches that are each the golden one add up to its gradient: the loss is the mean over the step.
func TestMicroBatchesAddUp(t *testing.T) {
	m, g := goldenModel(t, blas.F64)
	defer m.Close()
	m.MicroN = 2
	m.BeginStep()
	m.MicroStep()
	m.MicroStep()
	m.finishGradients()
	if e := relative(get(t, m, m.loss), g["loss"]); e > 1e-10 {
		t.Errorf("loss differs by %.2g", e)
	}
	if e := relative(get(t, m, m.grad("blocks.1.mlp.fc1.weight")), g["grad.blocks.1.mlp.fc1.weight"]); e > 1e-10 {
		t.Errorf("gradient differs by %.2g", e)
	}
}

func TestNonFiniteStepChangesNothing(t *testing.T) {
	m, _ := goldenModel(t, blas.F32)
	defer m.Close()
	nan := make([]float64, 10)
	nan[3] = math.NaN()
	blas.Set(m.dev, m.value("target_head.bias"), nan)
	before := get(t, m, m.value("patch_embed.proj.weight"))
	var r StepResult
	goldenSmall.losses(t, m, 1, func(_ int, result StepResult) { r = result })
	if r.Applied != 0 || r.Skipped != 1 || relative(get(t, m, m.value("patch_embed.proj.weight")), before) != 0 {
		t.Errorf("a step with a gradient that is not finite gave %+v", r)
	}
}

// On every device, for training and for reading features: nothing is left when a model is closed, and the test would see it.
func TestModelFreesAll(t *testing.T) {
	card, _ := gpu(t)
	for _, dev := range []blas.Device{ref.New(), processor(t), card} {
		m, _ := goldenModelOn(t, dev, blas.BF16)
		goldenSmall.losses(t, m, 2, nil)
		e := NewModel(dev, goldenSmall.config, Options{Compute: blas.F32, Batch: 2}, 1)
		if live := dev.Live(); len(live) < len(m.owned)+len(e.owned) {
			t.Errorf("%s: %d tensors live in two models that own %d and %d", dev.Info().Name, len(live), len(m.owned), len(e.owned))
		}
		m.Close()
		e.Close()
		if live := dev.Live(); len(live) > 0 {
			t.Errorf("%s: %d tensors live after Close, the first %s", dev.Info().Name, len(live), live[0].Name)
		}
	}
}
