package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/blas/cuda"
	"mvptargets/blas/profile"
	"mvptargets/internal/bench/peak"
	"mvptargets/internal/half"
	"mvptargets/student"
)

// job is one round of steps.
type job struct {
	Device, DType                       string
	Batch, Micro, Steps, Depth, Threads int
	Cut                                 int
	DropPath                            float64
}

// measured is what a round gave, ours or the peer's.
type measured struct {
	Seconds []float64 `json:"seconds"` // of each step
	Memory  int64     `json:"peak_rss"`
	Held    int64     `json:"device_bytes"`
	Saving  int64     `json:"peak_rss_saving,omitempty"` // after a checkpoint's tensors were written and read again
	Device  string    `json:"device"`
	Limit   float64   `json:"limit"` // images per second; 0 where it isn't known
	Rate    float64   `json:"images_per_s"`
}

const masked = 75

func (j job) config() student.Config {
	return student.Config{ImageSize: 224, PatchSize: 16, Width: 768, Depth: j.Depth, Heads: 12, MLPRatio: 4, LayerScale: 0.1, RelPos: true, TargetDim: 512}
}

// flops is what PyTorch multiplies for one image: three times the forward pass, but for the patches' gradient.
func (j job) flops() float64 {
	c := j.config()
	n, d := float64(c.Tokens()), float64(c.Width)
	block := 12*n*d*d + 2*n*n*d
	return 2 * (3*(float64(c.Depth)*block+n*d*float64(c.TargetDim)) + 2*float64(c.Patches())*d*d)
}

// stepper returns a function that issues one step on dev, calls meanwhile when its first micro-batch is issued, and gives its figures; and
// its model. With Cut a step has no more micro-batches than that.
func (j job) stepper(dev blas.Device) (step func(meanwhile func()) (wait func() (student.StepResult, error)), m *student.Model, err error) {
	compute, err := blas.ParseDType(j.DType)
	if err != nil {
		return nil, nil, err
	}
	micros := j.Batch / j.Micro
	m = student.NewModel(dev, j.config(), student.Options{Compute: compute, Batch: j.Micro, LossRows: masked, Masked: masked, DropPath: j.DropPath > 0,
		Loss: student.Loss{Kind: "cosine"}, MicroN: micros}, 1)
	b := madeUp(j.Micro, j.config())
	if j.DropPath > 0 {
		b.Keep = make([]float32, 2*j.Depth*j.Micro)
	}
	m.Refresh()
	steps := uint64(0)
	step = func(meanwhile func()) func() (student.StepResult, error) {
		m.BeginStep()
		for i := range micros {
			if i == j.Cut && j.Cut > 0 {
				break
			}
			if b.Keep != nil {
				for n := range j.Micro {
					student.FillKeep(b.Keep, n, j.Micro, j.Depth, j.DropPath, 1, steps, uint64(i*j.Micro+n))
				}
			}
			m.Upload(b)
			m.MicroStep()
			if i == 0 {
				meanwhile()
			}
		}
		steps++
		m.EndStep(student.Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: 3}, 1.5e-3, 0.05)
		return m.Figures()
	}
	return step, m, nil
}

// warm is how many steps come before those that count: on a GPU the second one captures its graphs, and the host of a virtual machine may take
// three to give all of the memory.
const warm = 3

// open starts the device.
func (j job) open() (blas.Device, error) {
	if j.Device == "cuda" {
		return cuda.New()
	}
	return cpu.New(cpu.Options{Threads: j.Threads})
}

// measure times steps in this process.
func (j job) measure(ctx context.Context) (measured, error) {
	dev, err := j.open()
	if err != nil {
		return measured{}, err
	}
	defer dev.Close()
	info := dev.Info()
	r := measured{Device: fmt.Sprintf("%s, %d threads", info.Detail, info.Threads)}
	if compute, err := blas.ParseDType(j.DType); err == nil && j.Device == "cpu" {
		r.Limit = peak.Rate(compute, info.Threads) * 1e9 / j.flops()
	}
	step, m, err := j.stepper(dev)
	if err != nil {
		return measured{}, err
	}
	defer m.Close()
	figures, start, done := (func() (student.StepResult, error))(nil), time.Now(), 0
	settle := func() { // as a run does: the figures of a step are read while the next one runs
		if figures == nil || err != nil {
			return
		}
		var s student.StepResult
		if s, err = figures(); done >= warm {
			r.Seconds = append(r.Seconds, time.Since(start).Seconds())
		}
		fmt.Fprintf(os.Stderr, "%s step %d: %.2f s, loss %.4f\n", j.DType, done, time.Since(start).Seconds(), s.Loss)
		start, done = time.Now(), done+1
	}
	for range j.Steps + warm {
		if ctx.Err() != nil {
			return measured{}, ctx.Err()
		}
		figures = step(settle)
	}
	if settle(); err != nil {
		return measured{}, err
	}
	r.Rate = float64(j.Batch) / median(slices.Clone(r.Seconds))
	for _, a := range dev.Live() {
		r.Held += int64(a.Bytes)
	}
	if r.Memory, err = peakResident(); err != nil || j.Cut == 0 {
		return r, err
	}
	r.Saving, err = peakSaving(m)
	return r, err
}

// profile prints what the operations of a step take.
func (j job) profile(ctx context.Context, w io.Writer) error {
	dev, err := j.open()
	if err != nil {
		return err
	}
	defer dev.Close()
	timed := profile.New(dev)
	step, m, err := j.stepper(timed)
	if err != nil {
		return err
	}
	defer m.Close()
	for range warm {
		if _, err := step(func() {})(); err != nil {
			return err
		}
	}
	timed.Reset()
	timed.On = true
	for range j.Steps {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := step(func() {})(); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "%s, batch %d in micro-batches of %d, drop path %g (rates count what it drops), %s\n", j.DType, j.Batch, j.Micro, j.DropPath, dev.Info().Detail)
	return profile.Write(w, timed.Rows(), j.Steps)
}

// child is measure in a new process.
func (j job) child(ctx context.Context) (measured, error) {
	self, err := os.Executable()
	if err != nil {
		return measured{}, err
	}
	return roundOf(exec.CommandContext(ctx, self, "--alone", "--dtype", j.DType, "--batch", fmt.Sprint(j.Batch), "--micro", fmt.Sprint(j.Micro),
		"--steps", fmt.Sprint(j.Steps), "--depth", fmt.Sprint(j.Depth), "--threads", fmt.Sprint(j.Threads), "--cut", fmt.Sprint(j.Cut),
		"--drop-path", fmt.Sprint(j.DropPath)))
}

//go:embed peer.py
var peerScript string

// peer is the same step in PyTorch.
func (j job) peer(ctx context.Context, python string, compiled bool) (measured, error) {
	if python == "" {
		return measured{}, errors.New("no Python was given")
	}
	args := []string{"-c", peerScript, "--dtype", j.DType, "--batch", fmt.Sprint(j.Batch), "--steps", fmt.Sprint(j.Steps),
		"--depth", fmt.Sprint(j.Depth), "--threads", fmt.Sprint(j.Threads), "--drop-path", fmt.Sprint(j.DropPath)}
	if compiled {
		args = append(args, "--compile")
	}
	return roundOf(exec.CommandContext(ctx, python, args...))
}

// roundOf runs a program that prints a round as JSON.
func roundOf(cmd *exec.Cmd) (measured, error) {
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(&problem, os.Stderr)
	var m measured
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(problem.String()), "\n")
		return m, fmt.Errorf("%s: %w: %s", cmd.Path, err, lines[len(lines)-1])
	}
	if err := json.Unmarshal(out.Bytes(), &m); err != nil {
		return m, fmt.Errorf("%s printed %q: %w", cmd.Path, out.String(), err)
	}
	return m, nil
}

// madeUp is a micro-batch of random pixels, masks and targets.
func madeUp(n int, c student.Config) *student.Batch {
	r := rand.New(rand.NewPCG(1, 1))
	b := &student.Batch{N: n, Pixels: make([]uint8, n*c.ImageSize*c.ImageSize*3), Mask: make([]uint8, n*c.Patches())}
	for i := range b.Pixels {
		b.Pixels[i] = uint8(r.UintN(256))
	}
	for i := range n {
		for _, p := range r.Perm(c.Patches())[:masked] {
			b.Mask[i*c.Patches()+p] = 1
		}
	}
	for i, v := range b.Mask {
		if v != 0 {
			b.MaskIdx = append(b.MaskIdx, int32(i))
			for range c.TargetDim {
				b.Targets = append(b.Targets, half.F16(float32(r.NormFloat64())))
			}
		}
	}
	return b
}
