package main

import (
	"bytes"
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
	"mvptargets/internal/cli"
	"mvptargets/shards/view"
)

var (
	//go:embed null.onnx
	nullTeacher []byte
	//go:embed full.onnx
	fullTeacher []byte
	//go:embed decode_peer.py
	decodePeerScript []byte
)

// decodeResult compares the whole job, with teachers that compute nothing, with decoding and resizing alone; images per second.
type decodeResult struct {
	Cores      int                `json:"cores"`
	Peer       float64            `json:"peer_decode_and_view,omitempty"` // libjpeg-turbo from C and Pillow's resize, a process per core
	Pillow     string             `json:"peer_pillow,omitempty"`
	PeerWhyNot string             `json:"peer_why_not,omitempty"`
	Bare       float64            `json:"bare_decode_and_view"` // shards/view alone, files in memory
	EndToEnd   float64            `json:"end_to_end_null_teacher"`
	Full       float64            `json:"end_to_end_full_rows"` // rows of 196 patches x 768 numbers
	Stages     map[string]float64 `json:"stage_seconds"`        // of EndToEnd
	FullStages map[string]float64 `json:"full_rows_stage_seconds"`
}

// measureDecode runs decodeOn in a process that has only so many cores, since libraries count cores for themselves, between two runs of the peer.
func (b *bench) measureDecode(ctx context.Context, cores int) (r decodeResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	before := b.decodePeer(ctx, cores)
	cmd := exec.CommandContext(ctx, "taskset", "-c", fmt.Sprintf("0-%d", cores-1), self, "--decode-on", fmt.Sprint(cores), "--photos", b.images)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("decode on %d cores: %w", cores, err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, err
	}
	after := b.decodePeer(ctx, cores)
	r.Peer, r.Pillow, r.PeerWhyNot = max(before.Rate, after.Rate), before.Pillow, before.whyNot
	return r, nil
}

// decodePeerRate is what decode_peer.py prints.
type decodePeerRate struct {
	Rate   float64 `json:"rate"`
	Pillow string  `json:"pillow"`
	whyNot string
}

// decodePeer runs decode_peer.py on each of the cores at the same time and adds up their rates.
func (b *bench) decodePeer(ctx context.Context, cores int) (sum decodePeerRate) {
	decoder := view.NewDecoder()
	if b.pythonDecode == "" || decoder.Family() != view.FamilyTurbo {
		return decodePeerRate{whyNot: "no --python-decode was given, or there is no libjpeg-turbo"}
	}
	rates := make([]decodePeerRate, cores)
	var all sync.WaitGroup
	for core := range cores {
		all.Go(func() {
			cmd := exec.CommandContext(ctx, "taskset", "-c", fmt.Sprint(core), b.pythonDecode, "-", decoder.Version(), b.images)
			cmd.Stdin = bytes.NewReader(decodePeerScript)
			out, err := cmd.Output()
			if err == nil {
				err = json.Unmarshal(out, &rates[core])
			}
			if err != nil {
				rates[core].whyNot = cli.OneLine(err.Error())
			}
		})
	}
	all.Wait()
	for _, r := range rates {
		if r.whyNot != "" {
			return r
		}
		sum.Rate, sum.Pillow = sum.Rate+r.Rate, r.Pillow
	}
	return sum
}

// decodeJob is how many images the whole job runs over: the pictures again and again, so that its start and end do not count.
const decodeJob = 1000

// decodeOn measures on the cores that this process has and prints the result as JSON.
func decodeOn(ctx context.Context, cores int, images string) error {
	scratch, err := os.MkdirTemp("", "bench-decode-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	many := filepath.Join(scratch, "many")
	if err := linkMany(filepath.Join(images, "*.jpg"), many, decodeJob); err != nil {
		return err
	}
	job := func(teacherFile []byte) (rate float64, stages map[string]float64, err error) {
		model, store := filepath.Join(scratch, "model.onnx"), filepath.Join(scratch, "store")
		if err := os.WriteFile(model, teacherFile, 0o644); err != nil {
			return 0, nil, err
		}
		defer os.RemoveAll(store)
		sum, err := extract.Run(ctx, extract.Config{
			Model: model, Images: many, Store: store, Features: teacher.Hidden, Views: 1, Policy: view.NewCenter(),
			Provider: "cpu", Precision: "f32", Batch: 8, Threads: 1, Loaders: cores, Part: extract.Part{Index: 0, Count: 1}, Log: slog.New(slog.DiscardHandler),
		})
		return float64(sum.Views) / sum.Seconds, sum.Stages, err
	}
	const passes = 3
	r := decodeResult{Cores: cores}
	for range passes { // alternating, the best of each: other work on the machine only ever slows down
		bare, err := bareDecode(images, cores)
		if err != nil {
			return err
		}
		r.Bare = max(r.Bare, bare)
		if rate, stages, err := job(nullTeacher); err != nil {
			return err
		} else if rate > r.EndToEnd {
			r.EndToEnd, r.Stages = rate, stages
		}
		if rate, stages, err := job(fullTeacher); err != nil {
			return err
		} else if rate > r.Full {
			r.Full, r.FullStages = rate, stages
		}
	}
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
	const rounds = 3
	started := time.Now()
	for range cores {
		all.Go(func() {
			const side = 224
			pixels := make([]uint8, 3*side*side)
			for i := next.Add(1) - 1; int(i) < rounds*len(files); i = next.Add(1) - 1 {
				img, err := decoder.Decode(files[int(i)%len(files)])
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
	return float64(rounds*len(files)) / time.Since(started).Seconds(), nil
}
