// gemm measures every matrix product of a ViT-B/16 training step on this processor: the device's own, bare oneDNN in the same process,
// and torch.mm in a Python process, in turns, beside the rate that the cores reach in registers.
//
//	go run ./internal/bench/gemm [--python PYTHON] [--json FILE]
//
// A Python must have torch; without one its column stays empty.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/internal/bench/figures"
	"mvptargets/internal/bench/peak"
	"mvptargets/internal/cli"
)

func main() { cli.Main("bench-gemm", run) }

// result is a line of the table; rates are GFLOP/s, medians, as the ratios are: of what was measured in one turn. 0: not measured.
type result struct {
	product
	DType    string  `json:"dtype"`
	Ours     float64 `json:"ours"`
	OneDNN   float64 `json:"onednn,omitempty"`
	Torch    float64 `json:"torch,omitempty"`
	VsOneDNN float64 `json:"vs_onednn,omitempty"`
	VsTorch  float64 `json:"vs_torch,omitempty"`
	Limit    float64 `json:"limit"` // of the units that multiply, in registers
}

type report struct {
	Device      string   `json:"device"`
	OneDNN      string   `json:"onednn"`
	Torch       string   `json:"torch,omitempty"`
	TorchWhyNot string   `json:"torch_why_not,omitempty"`
	Threads     int      `json:"threads"`
	Results     []result `json:"results"`
	Step        []total  `json:"step"`
}

// total is all products of a step, each as often as it occurs.
type total struct {
	DType string  `json:"dtype"`
	Ours  float64 `json:"ours"`
	DNN   float64 `json:"onednn,omitempty"`
	Torch float64 `json:"torch,omitempty"`
}

func run(ctx context.Context, args []string) error {
	f := cli.Flags("bench-gemm", "[flags]\nMeasures the matrix products of a ViT-B/16 training step against oneDNN and PyTorch.")
	micro := f.Int("micro", 16, "`images` in a micro-batch")
	rounds := f.Int("rounds", 15, "`times` that each product is measured, in turns")
	threads := f.Int("threads", 0, "`threads`; 0: one per core")
	only := f.String("only", "", "one compute `type` only, f32 or bf16")
	python := f.String("python", "", "`program` with torch, for the peer")
	out := f.String("json", "", "`file` to write the results to as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *micro < 1 || *rounds < 1 {
		return cli.Usagef("--micro and --rounds must be positive")
	}
	ours, err := open("own", *threads)
	if err != nil {
		return err
	}
	defer ours.Close()
	dnn, err := open("onednn", *threads)
	if err != nil {
		return err
	}
	defer dnn.Close()
	r := report{Device: ours.Info().Detail, OneDNN: dnn.Info().Detail, Threads: ours.Info().Threads}
	peer, err := startTorch(ctx, *python, r.Threads)
	if err != nil {
		r.TorchWhyNot = cli.OneLine(err.Error())
	} else {
		defer peer.close()
		r.Torch = peer.version
	}
	for _, t := range []blas.DType{blas.F32, blas.BF16} {
		if *only != "" && *only != t.String() {
			continue
		}
		library := dnn
		if slices.Contains(dnn.Info().Skips, t) { // what only own products do
			library = nil
		}
		for _, p := range stepProducts(*micro) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			line, err := compare(p, t, ours, library, peer, *rounds)
			if err != nil {
				return err
			}
			r.Results = append(r.Results, line)
		}
	}
	r.sumUp()
	r.print()
	return figures.Write(*out, r)
}

// open starts a device whose products come from one place.
func open(products string, threads int) (*cpu.Device, error) {
	if err := os.Setenv("MVP_GEMM", products); err != nil {
		return nil, err
	}
	d, err := cpu.New(cpu.Options{Threads: threads})
	if err == nil && products == "onednn" && len(d.Info().Paths) < 2 {
		err = fmt.Errorf("no oneDNN to compare with: %s", d.Info().Detail)
	}
	return d, err
}

// compare measures one product in turns on ours, oneDNN and torch, of which the latter two may be nil.
func compare(p product, t blas.DType, ours, dnn *cpu.Device, peer *torch, rounds int) (result, error) {
	r := result{product: p, DType: t.String(), Limit: peak.Rate(t, ours.Info().Threads)}
	sides := make([]func() (time.Duration, error), 3)
	for i, d := range []*cpu.Device{ours, dnn} {
		if d == nil {
			continue
		}
		run, free := p.on(d, t)
		defer free()
		sides[i] = run
	}
	if peer != nil {
		sides[2] = func() (time.Duration, error) { return peer.time(p, t) }
	}
	rates, ratios := make([][]float64, 3), make([][]float64, 3)
	for round := range rounds + 1 {
		var first float64
		for i, side := range sides {
			if side == nil {
				continue
			}
			took, err := side()
			if err != nil {
				return r, err
			}
			rate := p.flops() / took.Seconds() / 1e9
			if i == 0 {
				first = rate
			}
			if round > 0 { // the first warms up
				rates[i], ratios[i] = append(rates[i], rate), append(ratios[i], first/rate)
			}
		}
	}
	r.Ours, r.OneDNN, r.Torch = median(rates[0]), median(rates[1]), median(rates[2])
	r.VsOneDNN, r.VsTorch = median(ratios[1]), median(ratios[2])
	return r, nil
}

// median is 0 of nothing.
func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// sumUp gives the rate over all products of a step.
func (r *report) sumUp() {
	for _, t := range []string{"f32", "bf16"} {
		var flops, ours, dnn, torch float64
		for _, l := range r.Results {
			if l.DType != t {
				continue
			}
			n := l.flops() * float64(l.Times)
			flops, ours, dnn, torch = flops+n, ours+n/l.Ours, dnn+n/l.OneDNN, torch+n/l.Torch
		}
		if flops > 0 { // a side that was not measured took forever
			r.Step = append(r.Step, total{DType: t, Ours: flops / ours, DNN: flops / dnn, Torch: flops / torch})
		}
	}
}

func (r *report) print() {
	fmt.Printf("GFLOP/s on %d threads and ratios, medians, in turns. Ours: %s. oneDNN: %s", r.Threads, r.Device, r.OneDNN)
	if r.Torch != "" {
		fmt.Printf(". Peer: torch.mm, torch %s", r.Torch)
	}
	fmt.Println(".\n\n| product | m x n x k | per micro-batch | type | ours | oneDNN | ours / oneDNN | torch | ours / torch | limit | ours / limit |\n|---|---|---|---|---|---|---|---|---|---|---|")
	for _, l := range r.Results {
		fmt.Printf("| %s | %d x %d x %d | %d | %s | %.0f | %s | %s | %.0f | %.2f |\n", l.Label, l.M, l.N, l.K, l.Times, l.DType,
			l.Ours, versus(l.OneDNN, l.VsOneDNN), versus(l.Torch, l.VsTorch), l.Limit, l.Ours/l.Limit)
	}
	for _, s := range r.Step {
		fmt.Printf("| **all of a step** | | | %s | %.0f | %s | %s | | |\n", s.DType, s.Ours, versus(s.DNN, s.Ours/s.DNN), versus(s.Torch, s.Ours/s.Torch))
	}
	if r.TorchWhyNot != "" {
		fmt.Printf("\nno figures of PyTorch: %s\n", r.TorchWhyNot)
	}
}

// versus is a rate and ours over it.
func versus(rate, ratio float64) string {
	if rate == 0 {
		return "- | -"
	}
	return fmt.Sprintf("%.0f | %.2f", rate, ratio)
}
