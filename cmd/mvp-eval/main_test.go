package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/blas/cuda/emulator"
	"mvptargets/blas/ref"
	"mvptargets/internal/cli"
	"mvptargets/internal/half"
	"mvptargets/shards"
	"mvptargets/shards/view"
	"mvptargets/student"
)

const tinyRecipe = `
[model]
image_size = 16
patch_size = 8
width = 8
depth = 1
heads = 2
mlp_ratio = 2
drop_path = 0.0
[mask]
count = 1
min_block = 1
[optimizer]
warmup_epochs = 0
[train]
batch = 8
micro_batch = 4
epochs = 2
dtype = "f32"
`

// world is a folder with images/, a store/ of them and a run/ trained on it for a few steps.
func world(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	s, err := shards.Create("store", shards.Manifest{Grid: [2]int{2, 2}, Dim: 3, Classes: []string{"blue", "green", "red"}, Producer: shards.Producer{
		Features: "projected", Precision: "f32", Size: 16, Policy: view.NewCenter(), Decoder: view.FamilyGo, Encoding: shards.EncodingF16}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer(shards.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, class := range []string{"blue", "green", "red"} {
		for n := range 8 {
			key := fmt.Sprintf("%s/%d.png", class, n)
			raw := picture(t, i, n)
			if err := os.MkdirAll(filepath.Join("images", class), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join("images", key), raw, 0o644); err != nil {
				t.Fatal(err)
			}
			r := &shards.Row{Identity: shards.Identity{Key: key, Image: sha256.Sum256(raw)}, Label: int32(i)}
			r.View = view.NewCenter().View(r.Image, 0, 16, 16)
			for p := range 4 {
				r.Patches = append(r.Patches, half.F16(float32(i)), half.F16(float32(p)), half.F16(float32(n)))
			}
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("tiny.toml", []byte(tinyRecipe), 0o644); err != nil {
		t.Fatal(err)
	}
	recipe, err := student.ReadRecipe("tiny.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	job := student.Job{Recipe: recipe, Targets: "store", Images: "images", Run: "run", Keep: 1, Log: slog.New(slog.DiscardHandler)}
	if _, err := student.Train(context.Background(), ref.New(), job); err != nil {
		t.Fatal(err)
	}
	return dir
}

// picture is a PNG of one colour per class, n shades of it.
func picture(t *testing.T, class, n int) []byte {
	m := image.NewRGBA(image.Rect(0, 0, 16, 16))
	for p := range 256 {
		c := color.RGBA{20, 20, 20, 255}
		*[]*uint8{&c.B, &c.G, &c.R}[class] = uint8(150 + 10*n + p%8)
		m.SetRGBA(p%16, p/16, c)
	}
	var raw bytes.Buffer
	if err := png.Encode(&raw, m); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// A probe reads the same on the GPU, here the emulated one, which auto finds by itself.
func TestProbeOnAGPU(t *testing.T) {
	world(t)
	steer := emulator.Use(t)
	for _, device := range []string{"ref", "cuda", "auto"} {
		var out bytes.Buffer
		args := "probe --checkpoint run --train images --test images --batch 5 --out " + device + ".json --device " + device
		if err := run(context.Background(), strings.Fields(args), &out); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); !strings.Contains(text, "probe accuracy, trained for 6 steps: 100.0") {
			t.Errorf("on %s it printed\n%s", device, text)
		}
		if launched := steer.Count("cuLaunchKernel") > 0; launched != (device != "ref") {
			t.Errorf("on %s kernels were launched: %v", device, launched)
		}
	}
}

func TestProbe(t *testing.T) {
	world(t)
	args := strings.Fields("probe --device ref --checkpoint run --train images --test images --out probe.json")
	var out bytes.Buffer
	if err := run(context.Background(), args, &out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "probe accuracy, trained for 6 steps: 100.0") || !strings.Contains(text, "norm") {
		t.Errorf("printed\n%s", text)
	}
	raw, err := os.ReadFile("probe.json")
	if err != nil || !bytes.Contains(raw, []byte(`"untrained": false`)) || !bytes.Contains(raw, []byte(`"step": 6`)) {
		t.Errorf("probe.json is %s, %v", raw, err)
	}
	out.Reset()
	if err := run(context.Background(), append(args, "--untrained", "--layers", "1"), &out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "probe accuracy, untrained: ") || strings.Contains(text, "norm") {
		t.Errorf("printed\n%s", text)
	}
}

func TestProbeErrors(t *testing.T) {
	world(t)
	for _, command := range []string{"mkdir -p one/blue flat other empty", "cp images/blue/1.png one/blue", "cp images/blue/*.png flat",
		"cp -r images broken", "cp -r run bent", "cp -r run cut"} {
		shell(t, command)
	}
	write(t, "broken/red/3.png", "\x89PNG\r\n\x1a\nnothing")
	checkpoint := "checkpoints/step-00000006/"
	raw, err := os.ReadFile("bent/" + checkpoint + "state.json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "bent/"+checkpoint+"state.json", strings.Replace(string(raw), `"width": 8`, `"width": 16`, 1))
	write(t, "cut/"+checkpoint+"model.safetensors", "short")
	for args, want := range map[string]string{
		"--checkpoint empty --train images --test images": "empty is no checkpoint and no run",
		"--checkpoint run --train flat --test images":     "of flat has no class",
		"--checkpoint run --train images --test one":      "class green of images has no image in one",
		"--checkpoint run --train broken --test images":   "image red/3.png of broken",
		"--checkpoint run --train none --test images":     "none do not exist",
		"--checkpoint bent --train images --test images":  "bent/checkpoints/step-00000006: tensor cls_token is F32[1 1 8]",
		"--checkpoint cut --train images --test images":   "model.safetensors",
	} {
		var usage *cli.UsageError
		err := run(context.Background(), append([]string{"probe", "--device", "ref"}, strings.Fields(args)...), &bytes.Buffer{})
		if err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %s", args, err, want)
		}
	}
	for args, want := range map[string]string{
		"--train images --test images":                               "--checkpoint is missing",
		"--checkpoint run --train images":                            "--test is missing",
		"--checkpoint run --train images --test images --layers 7":   `"7" is not one of`,
		"--checkpoint run --train images --test images --batch -1":   "--batch -1",
		"--checkpoint run --train images --test images --threads -1": "negative",
		"--checkpoint run --train images --test images more":         "unexpected argument",
	} {
		var usage *cli.UsageError
		if err := run(context.Background(), append([]string{"probe"}, strings.Fields(args)...), &bytes.Buffer{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %s", args, err, want)
		}
	}
}

// What was computed is printed, also where its file cannot be written.
func TestProbePrintsBeforeItWrites(t *testing.T) {
	world(t)
	var out bytes.Buffer
	err := run(context.Background(), strings.Fields("probe --device ref --checkpoint run --train images --test images --layers norm --out absent/probe.json"), &out)
	if err == nil || !strings.Contains(err.Error(), "absent/") || !strings.Contains(out.String(), "probe accuracy") {
		t.Errorf("%v; printed %q", err, out.String())
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}
