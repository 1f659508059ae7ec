package student

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/blas/cuda"
	"mvptargets/blas/cuda/emulator"
	"mvptargets/blas/ref"
)

// golden is testdata/golden.safetensors (see make_golden.py), every tensor as float64; targets also as their bits.
type golden map[string][]float64

func readGolden(t *testing.T) (golden, []uint16) {
	t.Helper()
	raw, err := os.ReadFile("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(raw)
	var header map[string]struct {
		DType   string   `json:"dtype"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	types := map[string]blas.DType{"F64": blas.F64, "F16": blas.F16, "U8": blas.U8}
	g, bits := golden{}, []uint16(nil)
	for name, h := range header {
		b := raw[8+int64(n)+h.Offsets[0] : 8+int64(n)+h.Offsets[1]]
		g[name] = blas.Decode(types[h.DType], b)
		if name == "target" {
			for i := 0; i < len(b); i += 2 {
				bits = append(bits, binary.LittleEndian.Uint16(b[i:]))
			}
		}
	}
	return g, bits
}

// goldenModel is the model of make_golden.py on ref, goldenModelOn on any device; weights and batch are uploaded.
func goldenModel(t *testing.T, compute blas.DType) (*Model, golden) {
	t.Helper()
	return goldenModelOn(t, ref.New(), compute)
}

func goldenModelOn(t *testing.T, dev blas.Device, compute blas.DType) (*Model, golden) {
	t.Helper()
	g, _ := readGolden(t)
	config := Config{ImageSize: 16, PatchSize: 4, Width: 24, Depth: 3, Heads: 3, MLPRatio: 4, LayerScale: 0.1, AbsPos: true, RelPos: true, TargetDim: 10}
	const batch, masked = 2, 5
	m := NewModel(dev, config, Options{Compute: compute, Batch: batch, LossRows: masked, DropPath: true, Loss: Loss{Kind: "cosine"}}, 1)
	for _, p := range m.Params.List {
		if p.Name != "" {
			v, ok := g["param."+p.Name]
			if !ok || len(v) != p.Len() {
				t.Fatalf("golden parameter %s has %d elements, the model's has %d", p.Name, len(v), p.Len())
			}
			blas.Set(m.dev, m.value(p.Name), v)
		}
	}
	m.Upload(goldenBatch(t))
	m.Refresh()
	return m, g
}

// goldenBatch is the batch of make_golden.py.
func goldenBatch(t *testing.T) *Batch {
	t.Helper()
	g, targets := readGolden(t)
	b := &Batch{N: 2, Targets: targets}
	for i, v := range g["mask"] {
		b.Mask = append(b.Mask, uint8(v))
		if v != 0 {
			b.MaskIdx = append(b.MaskIdx, int32(i))
		}
	}
	for _, v := range g["pixels"] {
		b.Pixels = append(b.Pixels, uint8(v))
	}
	for _, v := range g["keep"] {
		b.Keep = append(b.Keep, float32(v))
	}
	return b
}

// relative is the largest difference between got and want over want's largest element.
func relative(got, want []float64) float64 {
	var diff, top float64
	for i, w := range want {
		diff, top = math.Max(diff, math.Abs(got[i]-w)), math.Max(top, math.Abs(w))
	}
	return diff / top
}

func get(t *testing.T, m *Model, x blas.Tensor) []float64 {
	t.Helper()
	v, err := blas.Get(m.dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

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

// Float64 leaves only the different order of sums; float32 rounds each stored value, 6e-8, over some 40 operations, and sums in
// float32 on the processor. Bfloat16 rounds by 4e-3 wherever a product begins or ends; gradients of this small, steep model
// are compared by their direction there.
func TestModelEqualsPyTorch(t *testing.T) {
	processor, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer processor.Close()
	card, _ := gpu(t)
	for _, c := range []struct {
		dev       blas.Device
		compute   blas.DType
		tolerance float64
	}{{ref.New(), blas.F64, 1e-10}, {ref.New(), blas.F32, 2e-5}, {processor, blas.F32, 2e-5}, {card, blas.F32, 2e-5}} {
		t.Run(c.dev.Info().Name+" "+c.compute.String(), func(t *testing.T) {
			m, g := goldenModelOn(t, c.dev, c.compute)
			defer m.Close()
			m.BeginStep()
			m.MicroStep()
			m.finishGradients()
			if e := relative(get(t, m, m.pred), g["pred"]); e > c.tolerance {
				t.Errorf("prediction differs by %.2g", e)
			}
			if e := relative(get(t, m, m.loss), g["loss"]); e > c.tolerance {
				t.Errorf("loss differs by %.2g", e)
			}
			for name, want := range g {
				if p, ok := strings.CutPrefix(name, "grad."); ok {
					if e := relative(get(t, m, m.grad(p)), want); !(e <= c.tolerance) {
						t.Errorf("gradient of %s differs by %.2g", p, e)
					}
				}
			}
		})
	}
}

func TestBF16GradientsPointWherePyTorchsDo(t *testing.T) {
	processor, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer processor.Close()
	card, _ := gpu(t)
	for _, dev := range []blas.Device{ref.New(), processor, card} {
		m, g := goldenModelOn(t, dev, blas.BF16)
		defer m.Close()
		m.BeginStep()
		m.MicroStep()
		m.finishGradients()
		if e := relative(get(t, m, m.loss), g["loss"]); e > 5e-3 {
			t.Errorf("%s: loss differs by %.2g", dev.Info().Name, e)
		}
		for name, want := range g {
			if p, ok := strings.CutPrefix(name, "grad."); ok {
				if c := cosine(get(t, m, m.grad(p)), want); !(c >= 0.999) {
					t.Errorf("%s: gradient of %s has cosine %.5f", dev.Info().Name, p, c)
				}
			}
		}
	}
}

func cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}

func TestOptimizerStepsEqualPyTorch(t *testing.T) {
	m, g := goldenModel(t, blas.F64)
	defer m.Close()
	for step, want := range g["losses"] {
		m.BeginStep()
		m.MicroStep()
		m.EndStep(Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: 0.3}, float64(float32(1e-2)), float64(float32(0.05)))
		r, err := m.Result()
		if err != nil {
			t.Fatal(err)
		}
		// The learning rate and the weight decay travel as float32: 3e-8 relative, times the steps.
		if math.Abs(r.Loss-want) > 1e-6*want {
			t.Errorf("step %d: loss %.9f, PyTorch's is %.9f", step, r.Loss, want)
		}
		if step == 0 && math.Abs(r.Norm-g["norm"][0]) > 1e-9 {
			t.Errorf("gradient norm %.9f, PyTorch's is %.9f", r.Norm, g["norm"][0])
		}
	}
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
	m.BeginStep()
	m.MicroStep()
	m.EndStep(Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: 3}, 1e-3, 0.05)
	r, err := m.Result()
	if err != nil {
		t.Fatal(err)
	}
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
