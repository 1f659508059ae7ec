package student

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
)

// Three steps, saved to files, loaded into a model with other weights, and two more: the losses are those of five steps in one go,
// to the last bit.
func TestStateInFilesContinuesExactly(t *testing.T) {
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		run := func(m *Model, steps int) []float64 { return goldenSmall.losses(t, m, steps, nil) }
		m, _ := goldenModel(t, compute)
		defer m.Close()
		run(m, 3)
		dir := t.TempDir()
		model, state := filepath.Join(dir, "model.safetensors"), filepath.Join(dir, "state.safetensors")
		for path, f := range map[string]*TensorFile{model: m.Weights(), state: m.TrainingState()} {
			if err := WriteTensors(path, f); err != nil {
				t.Fatal(err)
			}
		}
		want := run(m, 2)

		other, _ := goldenModel(t, compute)
		defer other.Close()
		if err := other.Read(model, state); err != nil {
			t.Fatal(err)
		}
		for i, got := range run(other, 2) {
			if math.Float64bits(got) != math.Float64bits(want[i]) {
				t.Errorf("%s: step %d after loading has loss %v, without it %v", compute, i, got, want[i])
			}
		}
	}
}

// weighed is a device that notes how much of the heap is alive whenever something is uploaded.
type weighed struct {
	blas.Device
	uploads, heap int
}

func (w *weighed) Upload(dst blas.Tensor, src []byte) {
	w.Device.Upload(dst, src)
	w.uploads, w.heap = w.uploads+1, max(w.heap, liveHeap())
}

func liveHeap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Files go to the device a part at a time, whatever their tensors' sizes; and files that are damaged, cut or of another model leave it as it was.
func TestFilesAreReadInParts(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1}) // its tensors are no part of the heap
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	w := &weighed{Device: dev}
	c := Config{ImageSize: 32, PatchSize: 8, Width: 256, Depth: 1, Heads: 4, MLPRatio: 4, LayerScale: 0.1, RelPos: true, TargetDim: 16}
	model := func(c Config, seed uint64) *Model {
		m := NewModel(w, c, Options{Compute: blas.F32, Batch: 1, LossRows: 4, Loss: Loss{Kind: "cosine"}}, seed)
		t.Cleanup(m.Close)
		return m
	}
	from, to, wider := model(c, 1), model(c, 2), c
	wider.Width = 260
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "model.safetensors"), filepath.Join(dir, "state.safetensors")}
	var files []digested
	for i, f := range []*TensorFile{from.Weights(), from.TrainingState()} {
		sha, err := writeTensorFile(paths[i], f)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, digested{paths[i], sha})
	}
	values := func(m *Model) []float64 {
		v, err := blas.Get(dev, m.Params.Value)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := values(to)
	refuses := func(m *Model, want string) {
		t.Helper()
		w.uploads = 0
		if err := m.read(files); err == nil || !strings.Contains(err.Error(), want) || w.uploads > 0 {
			t.Errorf("%d uploads and %v, want %q", w.uploads, err, want)
		}
	}
	refuses(model(wider, 1), "of another model")
	sound, err := os.ReadFile(paths[1])
	if err != nil {
		t.Fatal(err)
	}
	for want, harm := range map[string]func(b []byte) []byte{
		"SHA-256 differs": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"no sound":        func(b []byte) []byte { return b[:len(b)/2] },
	} {
		if err := os.WriteFile(paths[1], harm(slices.Clone(sound)), 0o644); err != nil {
			t.Fatal(err)
		}
		refuses(to, want)
	}
	if !slices.Equal(values(to), before) {
		t.Error("files that were refused have changed the model")
	}
	if err := os.WriteFile(paths[1], sound, 0o644); err != nil {
		t.Fatal(err)
	}
	before, sound = nil, nil
	w.heap = 0
	resting := liveHeap()
	if err := to.read(files); err != nil {
		t.Fatal(err)
	}
	part := 4 * copyElements
	t.Logf("%d uploads; %d bytes of heap at most, parts are of %d", w.uploads, w.heap-resting, part)
	if largest := 4 * to.Params.Value.Len(); w.heap-resting > 8*part || largest < 48*part {
		t.Errorf("up to %d bytes of the heap were alive, the moments are of %d", w.heap-resting, largest)
	}
	if !slices.Equal(values(to), values(from)) {
		t.Error("the weights are others")
	}
}

// The encoder's file has the tensors of timm's beit_base_patch16_224, all of them and no others, so that timm loads it strictly. (That
// the same numbers give the same features is TestModelEqualsPyTorch's, and with timm itself checks/checkpoint_timm.py's.)
func TestWeightsAreNamedAsTimms(t *testing.T) {
	text, err := os.ReadFile("testdata/timm_beit_base.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range DefaultRecipe().Config(512).params() {
		if p.Name != "" && !p.Training() {
			got = append(got, fmt.Sprintf("%s [%s]\n", p.Name, strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Shape), " ", ", "), "[]")))
		}
	}
	slices.Sort(got)
	if want := strings.SplitAfter(strings.TrimSpace(string(text))+"\n", "\n"); !slices.Equal(got, want[:len(want)-1]) {
		t.Errorf("%d tensors, timm has %d; ours are\n%s", len(got), len(want)-1, strings.Join(got, ""))
	}
}
