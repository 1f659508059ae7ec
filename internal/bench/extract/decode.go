package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"mvptargets/extract"
	"mvptargets/extract/teacher"
	"mvptargets/shards/view"
)

//go:embed null.onnx
var nullTeacher []byte

// decodeResult compares the whole job with a teacher that costs nothing with decoding and resizing alone; images per second.
type decodeResult struct {
	Cores    int                `json:"cores"`
	Bare     float64            `json:"bare_decode_and_view"`
	EndToEnd float64            `json:"end_to_end_null_teacher"`
	Ratio    float64            `json:"ratio"`
	Stages   map[string]float64 `json:"stage_seconds"`
}

// measureDecode runs decodeOn in a process that has only so many cores, since libraries count cores for themselves.
func measureDecode(ctx context.Context, cores int, images string) (r decodeResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, "taskset", "-c", fmt.Sprintf("0-%d", cores-1), self, "--decode-on", fmt.Sprint(cores), "--photos", images)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("decode on %d cores: %w", cores, err)
	}
	return r, json.Unmarshal(out, &r)
}

// decodeOn measures on the cores that this process has and prints the result as JSON.
func decodeOn(ctx context.Context, cores int, images string) error {
	scratch, err := os.MkdirTemp("", "bench-decode-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	model := filepath.Join(scratch, "null.onnx")
	if err := os.WriteFile(model, nullTeacher, 0o644); err != nil {
		return err
	}
	const passes = 3
	r := decodeResult{Cores: cores}
	for pass := range passes { // alternating, the best of each: other work on the machine only ever slows down
		bare, err := bareDecode(images, cores)
		if err != nil {
			return err
		}
		sum, err := extract.Run(ctx, extract.Config{
			Model: model, Images: images, Store: filepath.Join(scratch, fmt.Sprint("store", pass)), Features: teacher.Hidden, Views: 1, Policy: view.NewCenter(),
			Provider: "cpu", Precision: "f32", Batch: 8, Threads: 1, Loaders: cores, Part: extract.Part{Index: 0, Count: 1}, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		r.Bare = max(r.Bare, bare)
		if rate := float64(sum.Views) / sum.Seconds; rate > r.EndToEnd {
			r.EndToEnd, r.Stages = rate, sum.Stages
		}
	}
	r.Ratio = r.EndToEnd / r.Bare
	return json.NewEncoder(os.Stdout).Encode(r)
}

// bareDecode decodes and resizes all images, their bytes in memory, on as many threads as there are cores, and does nothing else.
func bareDecode(images string, cores int) (float64, error) {
	paths, err := filepath.Glob(filepath.Join(images, "*.jpg"))
	if err != nil {
		return 0, err
	}
	files := make([][]byte, len(paths))
	for i, p := range paths {
		if files[i], err = os.ReadFile(p); err != nil {
			return 0, err
		}
	}
	decoder, policy := view.NewDecoder(), view.NewCenter()
	var next atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	started := time.Now()
	for range cores {
		all.Go(func() {
			const side = 224
			pixels := make([]uint8, 3*side*side)
			for i := next.Add(1) - 1; int(i) < len(files); i = next.Add(1) - 1 {
				img, err := decoder.Decode(files[i])
				if err != nil || policy.Render(pixels, img, policy.View([32]byte{}, 0, img.W, img.H), side) != nil {
					failed.Store(true)
					continue
				}
				img.Release()
			}
		})
	}
	all.Wait()
	if failed.Load() {
		return 0, errors.New("a picture could not be decoded")
	}
	return float64(len(files)) / time.Since(started).Seconds(), nil
}
