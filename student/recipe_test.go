package student

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeRecipe(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecipeFileAndSettings(t *testing.T) {
	path := writeRecipe(t, "[model]\nwidth = 384\nheads = 6\n[optimizer]\nlr = 1e-3\nbetas = [0.9, 0.98]\n")
	r, err := ReadRecipe(path, []string{"optimizer.lr=2e-3", "loss.kind=smooth_l1", "train.seed = 7"})
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultRecipe()
	want.Model.Width, want.Model.Heads = 384, 6
	want.Optimizer.LR, want.Optimizer.Betas = 2e-3, [2]float64{0.9, 0.98}
	want.Loss.Kind, want.Train.Seed = "smooth_l1", 7
	if r != want {
		t.Errorf("got %+v\nwant %+v", r, want)
	}
}

func TestResolvedRecipeReadsBack(t *testing.T) {
	dir, r := t.TempDir(), DefaultRecipe()
	r.Train.Seed, r.Optimizer.LR, r.Model.AbsPos = 1<<53+1, 1.0/3, true
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "recipe.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range RecipeKeys() {
		if _, name, _ := strings.Cut(key, "."); !strings.Contains(string(text), "\n"+name+" = ") {
			t.Errorf("the resolved recipe does not state %s", key)
		}
	}
	back, err := ReadRecipe(filepath.Join(dir, "recipe.toml"), nil)
	if err != nil || back != r {
		t.Errorf("read back %+v, %v", back, err)
	}
}

// A checkpoint holds the recipe under the keys of its file; earlier ones had the names of Go's fields.
func TestRecipeInJSON(t *testing.T) {
	r := DefaultRecipe()
	r.Train.Seed, r.Optimizer.LR, r.Model.AbsPos = 1<<63+1, 1.0/3, true
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var plain map[string]map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	for _, key := range RecipeKeys() {
		if section, name, _ := strings.Cut(key, "."); plain[section][name] == nil {
			t.Errorf("no %s in %s", key, text)
		}
	}
	type bare Recipe
	earlier, err := json.Marshal(bare(r))
	if err != nil || !strings.Contains(string(earlier), `"ImageSize":224`) {
		t.Fatalf("%s, %v", earlier, err)
	}
	for _, text := range [][]byte{text, earlier} {
		var back Recipe
		if err := json.Unmarshal(text, &back); err != nil || back != r {
			t.Errorf("read back %+v, %v", back, err)
		}
	}
	for text, want := range map[string]string{
		strings.Replace(string(text), `"width":768`, `"widht":768`, 1): "no model.width in the recipe",
		strings.Replace(string(text), `"width":768`, `"width":"x"`, 1): "model.width",
	} {
		if err := json.Unmarshal([]byte(text), new(Recipe)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestRecipeRefusals(t *testing.T) {
	for _, c := range []struct{ text, set, want string }{
		{"[model]\nwidht = 768\n", "", "line 2: unknown key model.widht, did you mean model.width?"},
		{"", "optimizer.learning=1", "unknown key optimizer.learning"},
		{"", "optimizer.lrr=1", "did you mean optimizer.lr?"},
		{"", "lr", "section.key=value"},
		{"[model]\nwidth = \"wide\"\n", "", "line 2"},
		{"[model\n", "", "line 1"},
		{"[model]\nwidth = 100\n", "", "100 is no multiple of 12 heads"},
		{"", "mask.count=196", "196 masked patches of 196"},
		{"", "loss.kind=l2", "use cosine or smooth_l1"},
		{"", "train.dtype=f8", "train.dtype"},
		{"", "train.micro_batch=30", "must divide batch"},
		{"", "optimizer.lr=nan", "optimizer.lr"},
		{"", "optimizer.warmup_epochs=300", "below the 300 epochs"},
	} {
		path := writeRecipe(t, c.text)
		var settings []string
		if c.set != "" {
			settings = []string{c.set}
		}
		_, err := ReadRecipe(path, settings)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q with --set %q: %v, want one line with %q", c.text, c.set, err, c.want)
		}
	}
	if _, err := ReadRecipe("absent.toml", nil); err == nil || !strings.Contains(err.Error(), "absent.toml") {
		t.Errorf("a missing file gives %v", err)
	}
}

// Every recipe that the project ships resolves.
func TestShippedRecipes(t *testing.T) {
	paths, err := filepath.Glob("../pipelines/*.toml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("found the recipes %v, %v", paths, err)
	}
	for _, path := range paths {
		if _, err := ReadRecipe(path, nil); err != nil {
			t.Error(err)
		}
	}
}
