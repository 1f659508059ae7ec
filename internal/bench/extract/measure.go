package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mvptargets/extract"
	"mvptargets/extract/teacher"
	"mvptargets/internal/cli"
	"mvptargets/shards/view"
)

//go:embed peer.py
var peerScript []byte

// measure runs one setting: the bare model, the whole job, the bare model again, then the peer.
func (b *bench) measure(ctx context.Context, s setting) (result, error) {
	r := result{setting: s}
	before, features, err := b.bare(s)
	if err != nil {
		return r, err
	}
	sum, err := extract.Run(ctx, extract.Config{
		Model: b.model, Images: b.images, Store: filepath.Join(b.scratch, "store-"+s.Provider+s.Precision), Features: teacher.Hidden, Views: 1,
		Policy: view.NewCenter(), Provider: s.Provider, Precision: s.Precision, Batch: b.batch, Threads: b.threads, Loaders: b.loaders,
		Part: extract.Part{Index: 0, Count: 1}, Log: b.log,
	})
	if err != nil {
		return r, err
	}
	after, _, err := b.bare(s)
	if err != nil {
		return r, err
	}
	r.Bare, r.EndToEnd = median(append(before, after...)), float64(sum.Views)/sum.Seconds
	r.Ratio, r.RowBytes, r.Stages = r.EndToEnd/r.Bare, sum.RowBytes, sum.Stages
	_, exact, err := b.bare(setting{"cpu", "f32"})
	if err != nil {
		return r, err
	}
	r.Cosine = lowestCosine(features, exact)
	if err := b.peer(ctx, s, &r); err != nil {
		r.PeerWhyNot = cli.OneLine(err.Error())
	}
	return r, nil
}

// bare runs the model alone on noise: rates of single calls, and the features per token of the first call.
func (b *bench) bare(s setting) (rates []float64, features [][]float32, err error) {
	m, err := teacher.Read(b.model, teacher.Settings{})
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	f, err := m.Feature(teacher.Hidden)
	if err != nil {
		return nil, nil, err
	}
	session, err := m.Open(f, teacher.Options{Provider: s.Provider, Precision: s.Precision, Batch: b.batch, Threads: b.threads})
	if err != nil {
		return nil, nil, err
	}
	defer session.Close()
	batch, err := session.NewBatch()
	if err != nil {
		return nil, nil, err
	}
	defer batch.Free()
	noise, rgb := rand.New(rand.NewPCG(3, 4)), make([]uint8, 3*session.Size()*session.Size())
	for i := range b.batch {
		for j := range rgb {
			rgb[j] = uint8(noise.Uint32())
		}
		batch.SetPixels(i, rgb)
	}
	const calls = 6
	for call := range calls {
		started := time.Now()
		if err := session.Run(batch); err != nil {
			return nil, nil, err
		}
		if call > 0 { // the first one warms up
			rates = append(rates, float64(b.batch)/time.Since(started).Seconds())
		}
	}
	for i := range b.batch {
		for patches := batch.Patches(i); len(patches) > 0; patches = patches[session.Dim:] {
			features = append(features, slices.Clone(patches[:session.Dim]))
		}
	}
	return rates, features, nil
}

func median(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

func lowestCosine(a, b [][]float32) float64 {
	lowest := 1.0
	for i := range a {
		var ab, aa, bb float64
		for j := range a[i] {
			x, y := float64(a[i][j]), float64(b[i][j])
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
		lowest = min(lowest, ab/math.Sqrt(aa*bb))
	}
	return lowest
}

// peer runs the job in Python.
func (b *bench) peer(ctx context.Context, s setting, r *result) error {
	python := b.python
	if s.Provider == "openvino" {
		python = b.pythonOpenVINO
	}
	if python == "" {
		return errors.New("no Python was given")
	}
	script := filepath.Join(b.scratch, "peer.py")
	if err := os.WriteFile(script, peerScript, 0o644); err != nil {
		return err
	}
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, python, script, b.model, b.images, filepath.Join(b.scratch, "peer.arrow"), s.Provider, s.Precision, fmt.Sprint(b.batch), fmt.Sprint(b.threads))
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(problem.String()), "\n")
		return fmt.Errorf("%s: %w: %s", python, err, lines[len(lines)-1])
	}
	var rates struct {
		EndToEnd float64 `json:"end_to_end"`
		Bare     float64 `json:"bare"`
	}
	if err := json.Unmarshal(out.Bytes(), &rates); err != nil {
		return fmt.Errorf("%s printed %q: %w", python, out.String(), err)
	}
	r.PeerBare, r.PeerEndToEnd = rates.Bare, rates.EndToEnd
	return nil
}
