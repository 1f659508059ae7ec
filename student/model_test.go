package student

import (
	"math"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cuda"
	"mvptargets/blas/cuda/emulator"
)

// gpu is the CUDA device on the emulated GPU.
func gpu(t *testing.T) (*cuda.Device, *emulator.Device) {
	t.Helper()
	steer := emulator.Use(t)
	dev, err := cuda.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
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

func TestModelFreesAll(t *testing.T) {
	m, _ := goldenModel(t, blas.BF16)
	dev := m.dev
	m.Close()
	if live := dev.Live(); len(live) > 0 {
		t.Errorf("%d tensors live after Close, the first %s", len(live), live[0].Name)
	}
}
