package probe

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/ref"
	"mvptargets/student"
)

// tree makes a class-per-folder tree of n images each; a class is a colour with noise.
func tree(t *testing.T, n int, seed uint64, classes ...string) string {
	t.Helper()
	root := t.TempDir()
	r := rand.New(rand.NewPCG(seed, 0))
	for k, class := range classes {
		if err := os.Mkdir(filepath.Join(root, class), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			m := image.NewRGBA(image.Rect(0, 0, 20, 16))
			for p := range 20 * 16 {
				level := func(on bool) uint8 {
					if on {
						return uint8(150 + r.IntN(80))
					}
					return uint8(20 + r.IntN(80))
				}
				m.SetRGBA(p%20, p/20, color.RGBA{level(k == 0), level(k == 1), level(k == 2), 255})
			}
			var raw bytes.Buffer
			if err := png.Encode(&raw, m); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, class, fmt.Sprintf("%03d.png", i)), raw.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// job probes the untrained tiny student.
func job(t *testing.T, train, test string) Job {
	t.Helper()
	recipe := student.DefaultRecipe()
	recipe.Model = student.ModelRecipe{ImageSize: 16, PatchSize: 8, Width: 8, Depth: 2, Heads: 2, MLPRatio: 2, LayerScale: 0.1, RelPos: true}
	recipe.Train.Seed = 3
	j := Job{Checkpoint: &student.Checkpoint{Recipe: recipe, TargetDim: 5}, Untrained: true, Layers: []int{0, 1, 2}, Batch: 4, DType: blas.F32,
		Log: slog.New(slog.DiscardHandler)}
	var err error
	if j.Train, err = OpenSet(context.Background(), train); err != nil {
		t.Fatal(err)
	}
	if j.Test, err = OpenSet(context.Background(), test); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestRun(t *testing.T) {
	names := []string{"a", "b", "c"}
	j := job(t, tree(t, 11, 1, names...), tree(t, 3, 2, names...))
	var results []*Result
	for range 2 {
		dev := ref.New()
		r, err := Run(context.Background(), dev, j)
		if err != nil {
			t.Fatal(err)
		}
		if live := dev.Live(); len(live) > 0 {
			t.Errorf("left on the device: %v", live)
		}
		results = append(results, r)
	}
	r := results[0]
	if !reflect.DeepEqual(r, results[1]) {
		t.Errorf("a second run differs: %+v and %+v", r, results[1])
	}
	if r.NTrain != 33 || r.NHeldOut != 6 || r.NTest != 9 || len(r.Layers) != 3 || r.Layers[2].Layer != "norm" || r.ModelSeed != 3 {
		t.Errorf("result %+v", r)
	}
	for _, l := range r.Layers {
		first, last := l.Tried[0].C, l.Tried[len(l.Tried)-1].C
		if !(first < l.C || l.C <= strongest) || !(l.C < last || l.C >= weakest) || len(l.Tried) < len(Strengths) {
			t.Errorf("layer %s: C %g is at the end of those tried, %v", l.Layer, l.C, l.Tried)
		}
	}
	if got := r.Best().Test.Accuracy; got != 1 {
		t.Errorf("%.2f of the colours recognized", got)
	}
	if r.Chance.Accuracy != 1./3 {
		t.Errorf("chance is %v", r.Chance)
	}
	path := filepath.Join(t.TempDir(), "probe.json")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	if back, err := ReadResult(path); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("read back %+v, %v", back, err)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "probe accuracy, untrained: 100.0 ± 0.0 % of 9 test images in 3 classes (always the commonest: 33.3 %)") {
		t.Errorf("printed %v %s", err, out.String())
	}
}

// The pooled features are those that the model gives, whatever the size of a micro-batch.
func TestExtract(t *testing.T) {
	j := job(t, tree(t, 3, 1, "a", "b"), tree(t, 1, 2, "a", "b"))
	var all []Features
	for _, batch := range []int{1, 4} {
		m := j.Checkpoint.Recipe.Encoder(ref.New(), blas.F64, batch, 5)
		m.Refresh()
		f, err := j.Train.Extract(context.Background(), m, []int{1}, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
		if batch > 1 {
			continue
		}
		x, err := m.Features(1) // of the last image
		if err != nil {
			t.Fatal(err)
		}
		got := f[0][5*16:]
		for i := range 8 {
			mean := (x[8+i] + x[16+i] + x[24+i] + x[32+i]) / 4
			if got[i] != float32(x[i]) || got[8+i] != float32(mean) {
				t.Errorf("feature %d is %g and %g, want %g and %g", i, got[i], got[8+i], x[i], mean)
			}
		}
	}
	if !reflect.DeepEqual(all[0], all[1]) {
		t.Error("the micro-batch changes the features")
	}
}

func TestSplit(t *testing.T) {
	var y []int32
	for class, n := range []int{50, 10, 3, 1} {
		for range n {
			y = append(y, int32(class))
		}
	}
	fit, held := split(y, 4, 7)
	seen, count := map[int]bool{}, make([]int, 4)
	for _, i := range held {
		count[y[i]]++
		seen[i] = true
	}
	for _, i := range fit {
		seen[i] = true
	}
	if !reflect.DeepEqual(count, []int{10, 2, 1, 0}) || len(seen) != len(y) || len(fit)+len(held) != len(y) {
		t.Errorf("held out %v of the classes, %d rows in all", count, len(seen))
	}
	again, _ := split(y, 4, 7)
	other, _ := split(y, 4, 8)
	if !reflect.DeepEqual(fit, again) || reflect.DeepEqual(fit, other) {
		t.Error("the split is not a function of the seed")
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	good := tree(t, 3, 1, "a", "b")
	damaged := tree(t, 3, 1, "a", "b")
	if err := os.WriteFile(filepath.Join(damaged, "b", "001.png"), []byte("\x89PNG\r\n\x1a\nxxxx"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ train, test, want string }{
		{good, tree(t, 1, 1, "a"), "class b of "},
		{good, tree(t, 1, 1, "a", "b", "c"), "class c of "},
		{damaged, good, "image b/001.png of "},
		{tree(t, 3, 1, "a"), tree(t, 3, 1, "a"), "at least two"},
		{tree(t, 1, 1, "a", "b"), good, "held out"},
	} {
		if _, err := Run(ctx, ref.New(), job(t, c.train, c.test)); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s and %s give %v, want %s", c.train, c.test, err, c.want)
		}
	}
	flat := filepath.Join(good, "a")
	for path, want := range map[string]string{flat: "has no class", t.TempDir(): "holds no images", good + "/none": "do not exist"} {
		if _, err := OpenSet(ctx, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("OpenSet(%s) gives %v, want %s", path, err, want)
		}
	}
}

func TestParseLayers(t *testing.T) {
	for text, want := range map[string][]int{"all": {0, 1, 2}, "2": {1}, "norm,1": {2, 0}} {
		if got, err := ParseLayers(text, 2); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s gives %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "3", "1,1", "1,"} {
		if got, err := ParseLayers(text, 2); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}
