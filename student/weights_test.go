package student

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mvptargets/blas"
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
		load := func(path string, set func(*TensorFile) error) {
			f, err := ReadTensors(path)
			if err == nil {
				err = set(f)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		load(model, func(f *TensorFile) error { // mask token and head stand in the other file
			rest, err := ReadTensors(state)
			if err != nil {
				return err
			}
			f.Tensors = append(f.Tensors, rest.Tensors...)
			return other.SetWeights(f)
		})
		load(state, other.SetOptimizerState)
		for i, got := range run(other, 2) {
			if math.Float64bits(got) != math.Float64bits(want[i]) {
				t.Errorf("%s: step %d after loading has loss %v, without it %v", compute, i, got, want[i])
			}
		}
		if err := other.SetWeights(&TensorFile{}); err == nil {
			t.Error("weights of another model are taken")
		}
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
