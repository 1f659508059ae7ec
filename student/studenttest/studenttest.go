// Package studenttest makes what tests of training need: a few images, a target store of made-up features for them, and a recipe that
// trains in milliseconds.
package studenttest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"mvptargets/shards"
	"mvptargets/shards/view"
)

// The store's shape; the recipe fits it.
const (
	Size, Grid, Dim = 32, 4, 8
	Views           = 2 // random crops of each image
)

// Recipe is a student of two blocks, a batch of 8 in two micro-batches.
const Recipe = `
[model]
image_size = 32
patch_size = 8
width = 16
depth = 2
heads = 2
[mask]
count = 6
min_block = 2
[optimizer]
warmup_epochs = 1
[train]
batch = 8
micro_batch = 4
epochs = 3
dtype = "f32"
`

// Data writes n images and a store with Views views of each, and returns both folders. Equal arguments give equal stores.
func Data(t testing.TB, n int, seed uint64) (images, store string) {
	t.Helper()
	dir := t.TempDir()
	images, store = filepath.Join(dir, "images"), filepath.Join(dir, "store")
	s, err := shards.Create(store, shards.Manifest{Grid: [2]int{Grid, Grid}, Dim: Dim, Producer: shards.Producer{
		Model: []shards.FileDigest{{Name: "model", SHA256: fmt.Sprintf("%064d", seed)}}, Features: "hidden", Precision: "f32", Size: Size,
		Resize: "pillow-bicubic", Decoder: view.NewDecoder().Family(), Policy: view.NewRRC(0.5, seed), Encoding: shards.EncodingF16}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer(shards.WriterOptions{Library: "test", ShardBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		key := fmt.Sprintf("class%d/%04d.jpg", i%2, i)
		path := filepath.Join(images, key)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		file := picture(t, r)
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		for v := range Views {
			if err := w.Append(row(s.Manifest(), key, file, uint16(v), r)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return images, store
}

// width and height of the pictures.
const width, height = 48, 40

// picture is a JPEG file with waves of colour.
func picture(t testing.TB, r *rand.Rand) []byte {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	a, b, c := r.Float64(), r.Float64(), r.Float64()
	wave := func(x float64) uint8 { return uint8(127 + 120*math.Sin(x)) }
	for y := range height {
		for x := range width {
			img.Set(x, y, color.RGBA{wave(a * float64(x)), wave(b * float64(y)), wave(c * float64(x+y)), 255})
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func row(m shards.Manifest, key string, file []byte, v uint16, r *rand.Rand) *shards.Row {
	sha := sha256.Sum256(file)
	features := make([]float32, m.Grid[0]*m.Grid[1]*m.Dim)
	for i := range features {
		features[i] = float32(r.NormFloat64())
	}
	x := &shards.Row{Identity: shards.Identity{Key: key, Image: sha, View: v}, View: m.Producer.Policy.View(sha, v, width, height), Label: -1,
		Width: width, Height: height, FileSize: int64(len(file)), Patches: make([]uint16, len(features))}
	shards.F16FromF32(x.Patches, features)
	return x
}
