package teacher

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copyModel puts files of testdata into a folder of their own and gives the first one's path.
func copyModel(t *testing.T, names ...string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, names[0])
}

func read(t *testing.T, path string) *Model {
	t.Helper()
	m, err := Read(path, Settings{Size: sizes[filepath.Base(path)]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func TestReadATower(t *testing.T) {
	m := read(t, "testdata/tower.onnx")
	if m.Input.String() != "pixel_values float32[batch,3,32,32]" || m.Size != 32 || m.Patch != 8 || m.Mean != clipMean || m.From != "" {
		t.Errorf("read as %+v", m)
	}
	if got := list(m.Outputs); got != "image_embeds float32[batch,8], last_hidden_state float32[batch,Addlast_hidden_state_dim_1,Addlast_hidden_state_dim_2]" {
		t.Errorf("outputs %s", got)
	}
	for _, name := range []string{"hidden", "last_hidden_state"} {
		if f, err := m.Feature(name); err != nil || f.Name != Hidden || f.Output.Name != "last_hidden_state" {
			t.Errorf("feature %s is %+v, %v", name, f, err)
		}
	}
}

func TestDigestsCoverAllFiles(t *testing.T) {
	path := copyModel(t, "external.onnx", "external.bin")
	before := read(t, path).Files
	if len(before) != 2 || before[0].Name != "model" || before[1].Name != "external.bin" || len(before[1].SHA256) != 64 {
		t.Fatalf("files %v", before)
	}
	weights := filepath.Join(filepath.Dir(path), "external.bin")
	data, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	data[100] ^= 1
	if err := os.WriteFile(weights, data, 0o644); err != nil {
		t.Fatal(err)
	}
	after := read(t, path).Files
	if after[0] != before[0] || after[1] == before[1] {
		t.Errorf("after a changed weight: %v, before: %v", after, before)
	}
}

func TestReadErrors(t *testing.T) {
	write := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tower, err := os.ReadFile("testdata/tower.onnx")
	if err != nil {
		t.Fatal(err)
	}
	withConfig := func(config string) string {
		path := copyModel(t, "open_shapes.onnx")
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), preprocessorFile), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ path, want string }{
		"missing":        {"testdata/nothing.onnx", "does not exist; --model takes"},
		"folder":         {"testdata", "is no regular file"},
		"empty":          {write("empty.onnx", ""), "is no ONNX model: it holds no graph"},
		"text":           {write("readme.onnx", "This is no model but a text.\n"), "is no ONNX model"},
		"cut":            {write("cut.onnx", string(tower[:len(tower)/2])), "is no ONNX model"},
		"text tower":     {"testdata/text.onnx", "is no vision tower: it takes input_ids int64[batch,8], not one image batch"},
		"no weights":     {copyModel(t, "external.onnx"), "external.bin: no such file"},
		"no size":        {copyModel(t, "open_shapes.onnx"), "no preprocessor_config.json beside it"},
		"bad config":     {withConfig(`{"crop_size":`), "mend or remove it"},
		"two means":      {withConfig(`{"image_mean":[1,2]}`), "image_mean has 2 numbers"},
		"zero std":       {withConfig(`{"image_std":[1,0,1]}`), "is not positive"},
		"other rescale":  {withConfig(`{"rescale_factor":1}`), "is not 1/255"},
		"not a size":     {withConfig(`{"crop_size":"large"}`), "does not fix its input's size"},
		"enormous sides": {withConfig(`{"size":1000000}`), "more than 4096 a side"},
		"enormous short": {withConfig(`{"size":{"shortest_edge":1000000},"crop_size":32}`), "a short side of 1000000 pixels, more than 16384"},
	} {
		_, err := Read(c.path, Settings{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) && name != "two means" && !strings.Contains(err.Error(), filepath.Dir(c.path)) {
			t.Errorf("%s: %v, want %q with the path", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
	}
}

func TestAFileWithTextIsCutToTheImage(t *testing.T) {
	m := read(t, "testdata/both.onnx")
	if got := list(m.Outputs); !strings.HasPrefix(got, "image_embeds float32[") || len(m.Outputs) != 1 || strings.Join(m.LeftOut, " ") != "input_ids attention_mask" {
		t.Errorf("left out %v, kept %s", m.LeftOut, got)
	}
	data, err := os.ReadFile("testdata/both.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.bytes) > 2*len(data)/3 {
		t.Errorf("%d of %d bytes are left, with the text tower's weights", len(m.bytes), len(data))
	}
	if sum := sha256.Sum256(data); m.Files[0].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the digest %s is not the file's", m.Files[0].SHA256)
	}
}

func TestPreprocessing(t *testing.T) {
	half := [3]float32{0.5, 0.5, 0.5}
	for name, c := range map[string]struct {
		config string
		set    Settings
		want   Preprocessing
		size   int
	}{
		"CLIP":       {`{"crop_size": {"height": 32, "width": 32}, "do_center_crop": true, "resample": 3, "size": {"shortest_edge": 32}}`, Settings{}, Preprocessing{Mean: clipMean, Std: clipStd, Crop: 32}, 32},
		"DINOv2":     {`{"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 40}}`, Settings{}, Preprocessing{Mean: clipMean, Std: clipStd, Crop: 32, Short: 40}, 32},
		"SigLIP":     {`{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3, "size": {"height": 32, "width": 32}}`, Settings{}, Preprocessing{Mean: half, Std: half, Crop: 32, Stretch: true}, 32},
		"raw pixels": {`{"do_normalize": false, "size": 32}`, Settings{}, Preprocessing{Std: [3]float32{1, 1, 1}, Crop: 32, Stretch: true}, 32},
		"flags":      {`{"size": 32, "resample": 2}`, Settings{Size: 48, Mean: &half, Std: &half, Resize: "64"}, Preprocessing{Mean: half, Std: half, Crop: 32, Short: 64, From: "as given"}, 48},
		"no file":    {``, Settings{Size: 40, Resize: Stretch}, Preprocessing{Mean: clipMean, Std: clipStd, Stretch: true}, 40},
	} {
		path := copyModel(t, "open_shapes.onnx")
		if config := filepath.Join(filepath.Dir(path), preprocessorFile); c.config != "" {
			if err := os.WriteFile(config, []byte(c.config), 0o644); err != nil {
				t.Fatal(err)
			}
			if c.want.From == "" {
				c.want.From = config
			}
		}
		m, err := Read(path, c.set)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.Preprocessing != c.want || m.Size != c.size {
			t.Errorf("%s: size %d, %+v", name, m.Size, m.Preprocessing)
		}
		m.Close()
	}
	for config, want := range map[string]string{
		`{"size": 32, "resample": 2}`:                       "resample 2 is not bicubic",
		`{"size": 32, "do_rescale": false}`:                 "do_rescale is false",
		`{"size": {"shortest_edge": 24}, "crop_size": 32}`:  "",
		`{"size": {"shortest_edge": 64}, "crop_size": "x"}`: "",
	} {
		path := copyModel(t, "open_shapes.onnx")
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), preprocessorFile), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path, Settings{}); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v", config, err)
		}
	}
	for want, set := range map[string]Settings{
		"cannot be cut from one whose short side has 16":  {Resize: "16"},
		"takes images of 32x32 pixels and no others":      {Size: 64},
		"--resize wide is neither stretch nor the short ": {Resize: "wide"},
	} {
		if _, err := Read("testdata/tower.onnx", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gives %v", set, err)
		}
	}
}

func TestFeatureErrors(t *testing.T) {
	if _, err := read(t, "testdata/logits.onnx").Feature(Hidden); err == nil || !strings.Contains(err.Error(), "gives no features per patch: its outputs are logits float32[batch,3]") {
		t.Errorf("logits: %v", err)
	}
	if _, err := read(t, "testdata/tower.onnx").Feature("logits"); err == nil || !strings.Contains(err.Error(), "does not offer --features logits; it offers hidden, normed, projected") {
		t.Errorf("logits: %v", err)
	}
}

func TestSizeFromPreprocessor(t *testing.T) {
	for config, want := range map[string]int{
		`{"crop_size": 32, "size": 40}`:                                             32,
		`{"crop_size": {"height": 48, "width": 48}, "size": {"shortest_edge": 64}}`: 48,
		`{"size": {"shortest_edge": 64}}`:                                           64,
		`{"size": {"height": 32, "width": 32}, "rescale_factor": 0.00392156862745}`: 32,
	} {
		path := copyModel(t, "open_shapes.onnx")
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), preprocessorFile), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		if m := read(t, path); m.Size != want || m.Mean != clipMean {
			t.Errorf("%s gives %d pixels, mean %v", config, m.Size, m.Mean)
		}
	}
}

func TestLayout(t *testing.T) {
	for _, c := range []struct{ size, patch, tokens, grid, prefix int }{
		{224, 16, 197, 14, 1}, {224, 16, 196, 14, 0}, {224, 14, 261, 16, 5}, {336, 14, 577, 24, 1}, {224, 0, 50, 7, 1},
		{224, 16, 50, 0, 0}, {224, 16, 1000, 0, 0}, {224, 0, 0, 0, 0},
	} {
		m := &Model{Size: c.size, Patch: c.patch}
		grid, prefix, err := m.layout(c.tokens)
		if grid != c.grid || prefix != c.prefix || (err != nil) != (c.grid == 0) {
			t.Errorf("%+v gives %d, %d, %v", c, grid, prefix, err)
		}
	}
}

func TestInspect(t *testing.T) {
	if _, err := library(openvinoWheel, libraryRemedy).Find(); err != nil {
		t.Skip(err)
	}
	var b strings.Builder
	read(t, "testdata/tower.onnx").Inspect(&b)
	for _, want := range []string{
		"input       pixel_values float32[batch,3,32,32]\n", "outputs     image_embeds float32[batch,8]\n",
		"patches     4x4 of 8x8 pixels\n", "--features  hidden: output last_hidden_state ", ", class token + 4x4 patches of 16 numbers (found by running it)\n",
		" model\n", "CLIP's; no preprocessor_config.json",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// Hostile files must give an error or a model, never a panic or a huge allocation.
func FuzzParseONNX(f *testing.F) {
	for _, name := range []string{"overflow.onnx", "external.onnx", "pooled.onnx", "openclip.onnx", "timm_siglip.onnx", "both.onnx"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := parseONNX(data)
		if err != nil {
			return
		}
		m := &Model{graph: g, Size: 224, Outputs: g.outputs, bytes: data}
		if err := m.cut(); err != nil {
			t.Errorf("the cut graph is none: %v", err)
		}
		defer m.Close()
		data = m.bytes
		m.findPatch()
		for _, f := range m.Features() {
			if f.edit != nil {
				if _, err := parseONNX(append(data[:len(data):len(data)], f.edit.suffix()...)); err != nil {
					t.Errorf("%s: the edited graph is none: %v", f.Name, err)
				}
			}
		}
	})
}
