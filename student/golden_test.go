package student

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/ref"
	"mvptargets/internal/half"
)

// golden is one file of testdata/make_golden.py, every tensor as float64; targets also as their bits.
type golden map[string][]float64

func readGolden(t *testing.T, file string) (golden, []uint16) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
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
	types := map[string]blas.DType{"F64": blas.F64, "F32": blas.F32, "F16": blas.F16, "U8": blas.U8}
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

// goldenCase is one of make_golden.py's models.
type goldenCase struct {
	file         string
	config       Config
	masked       int
	lr, clip     float64
	fromFunction bool // weights, pixels and targets are hashed, and what the file holds of a large tensor is its digest
}

var (
	goldenSmall = goldenCase{file: "golden.safetensors", masked: 5, lr: 1e-2, clip: 0.3,
		config: Config{ImageSize: 16, PatchSize: 4, Width: 24, Depth: 3, Heads: 3, MLPRatio: 4, LayerScale: 0.1, AbsPos: true, RelPos: true, TargetDim: 10}}
	goldenB16 = goldenCase{file: "golden_b16.safetensors", masked: 75, lr: 3e-4, clip: 3, fromFunction: true,
		config: Config{ImageSize: 224, PatchSize: 16, Width: 768, Depth: 2, Heads: 12, MLPRatio: 4, LayerScale: 0.1, RelPos: true, TargetDim: 512}}
)

// on builds the case's model on dev; weights and batch are uploaded.
func (c goldenCase) on(t *testing.T, dev blas.Device, compute blas.DType) (*Model, golden) {
	t.Helper()
	g, _ := readGolden(t, c.file)
	b := c.batch(t)
	m := NewModel(dev, c.config, Options{Compute: compute, Batch: b.N, LossRows: c.masked, Masked: c.masked, DropPath: true, Loss: Loss{Kind: "cosine"}}, 1)
	for _, p := range m.Params.List {
		if p.Name == "" {
			continue
		}
		v := g["param."+p.Name]
		if c.fromFunction {
			v = hashedParam(p)
		}
		if len(v) != p.Len() {
			t.Fatalf("golden parameter %s has %d elements, the model's has %d", p.Name, len(v), p.Len())
		}
		blas.Set(m.dev, m.value(p.Name), v)
	}
	m.Upload(b)
	m.Refresh()
	return m, g
}

// batch is the case's batch of two samples.
func (c goldenCase) batch(t *testing.T) *Batch {
	t.Helper()
	g, targets := readGolden(t, c.file)
	b, size := &Batch{N: 2, Targets: targets}, c.config.ImageSize
	pixels := g["pixels"]
	if c.fromFunction {
		for _, v := range hashed("pixels", b.N*size*size*3) {
			pixels = append(pixels, math.Floor((v+1)*128))
		}
		for _, v := range hashed("target", b.N*c.masked*c.config.TargetDim) {
			b.Targets = append(b.Targets, half.F16(float32(v)))
		}
	}
	for i, v := range g["mask"] {
		b.Mask = append(b.Mask, uint8(v))
		if v != 0 {
			b.MaskIdx = append(b.MaskIdx, int32(i))
		}
	}
	for _, v := range pixels {
		b.Pixels = append(b.Pixels, uint8(v))
	}
	for _, v := range g["keep"] {
		b.Keep = append(b.Keep, float32(v))
	}
	return b
}

// gradients runs forward and backward once.
func gradients(m *Model) {
	m.BeginStep()
	m.MicroStep()
	m.finishGradients()
}

// losses trains m for some steps as make_golden.py does.
func (c goldenCase) losses(t *testing.T, m *Model, steps int, after func(step int, r StepResult)) (losses []float64) {
	t.Helper()
	for step := range steps {
		m.BeginStep()
		m.MicroStep()
		m.EndStep(Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: c.clip}, float64(float32(c.lr)), float64(float32(0.05)))
		r, err := m.Result()
		if err != nil {
			t.Fatal(err)
		}
		if losses = append(losses, r.Loss); after != nil {
			after(step, r)
		}
	}
	return losses
}

// kept is what the case's file holds of tensor name with values v.
func (c goldenCase) kept(name string, v []float64) []float64 {
	if !c.fromFunction || len(v) <= goldenSamples {
		return v
	}
	return digest(name, v)
}

// differs is relative of tensor name's values and the file's; of a digest the norm and the signed sum are relative to the norm.
func (c goldenCase) differs(name string, v, want []float64) float64 {
	got := c.kept(name, v)
	if len(got) != len(want) || len(got) == len(v) {
		return relative(got, want)
	}
	sums := max(math.Abs(got[0]-want[0]), math.Abs(got[1]-want[1])) / want[0]
	return max(sums, relative(got[2:], want[2:]))
}

// goldenModel is the small golden model on ref, goldenModelOn on any device.
func goldenModel(t *testing.T, compute blas.DType) (*Model, golden) {
	t.Helper()
	return goldenModelOn(t, ref.New(), compute)
}

func goldenModelOn(t *testing.T, dev blas.Device, compute blas.DType) (*Model, golden) {
	t.Helper()
	return goldenSmall.on(t, dev, compute)
}

func goldenBatch(t *testing.T) *Batch { return goldenSmall.batch(t) }

// hashed is make_golden.py's.
func hashed(name string, n int) []float64 {
	out, first := make([]float64, n), uint64(crc32.ChecksumIEEE([]byte(name)))<<32
	for i := range out {
		z := (first + uint64(i)) * 0x9E3779B97F4A7C15
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		out[i] = float64((z^z>>31)>>40)*0x1p-23 - 1
	}
	return out
}

// hashedParam is a parameter of golden_b16: matrices as wide as BEiT starts them, all others moved from where they start.
func hashedParam(p Param) []float64 {
	v, width := hashed(p.Name, p.Len()), 0.1
	if p.Decay {
		width = 0.035
	}
	for i, x := range v {
		v[i] = float64(float32(p.Value + float64(width*x)))
	}
	return v
}

const goldenSamples = 64

// digest is make_golden.py's: norm, signed sum, samples.
func digest(name string, v []float64) []float64 {
	signed := 0.0
	for i, s := range hashed(name, len(v)) {
		if s < 0 {
			signed -= v[i]
		} else {
			signed += v[i]
		}
	}
	out := []float64{norm(v), signed}
	for _, at := range hashed(name+" samples", goldenSamples) {
		out = append(out, v[int((at+1)/2*float64(len(v)))])
	}
	return out
}

func norm(v []float64) float64 { return math.Sqrt(inner(v, v)) }

func inner(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func cosine(a, b []float64) float64 { return inner(a, b) / (norm(a) * norm(b)) }

// away is the distance of got from want over the length of want.
func away(got, want []float64) float64 {
	d := make([]float64, len(want))
	for i, w := range want {
		d[i] = got[i] - w
	}
	return norm(d) / norm(want)
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
