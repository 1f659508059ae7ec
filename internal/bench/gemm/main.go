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

	"golang.org/x/sys/unix"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/internal/bench/figures"
	"mvptargets/internal/bench/peak"
	"mvptargets/internal/cli"
)

func main() { cli.Main("bench-gemm", run) }

// result is a line of the table; rates are GFLOP/s.
type result struct {
	product
	DType  string  `json:"dtype"`
	Ours   float64 `json:"ours"`
	OneDNN float64 `json:"onednn"`
	Torch  float64 `json:"torch,omitempty"`
	Limit  float64 `json:"limit"` // of the units that multiply, in registers
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
	DNN   float64 `json:"onednn"`
	Torch float64 `json:"torch,omitempty"`
}

func run(ctx context.Context, args []string) error {
	f := cli.Flags("bench-gemm", "[flags]\nMeasures the matrix products of a ViT-B/16 training step against oneDNN and PyTorch.")
	micro := f.Int("micro", 8, "`images` in a micro-batch")
	rounds := f.Int("rounds", 7, "`times` that each product is measured, in turns")
	threads := f.Int("threads", 0, "`threads`; 0: one per core")
	busy := f.Bool("cpu-time", false, "count processor time, not the clock's: for a machine with other work, with --threads 1")
	only := f.String("only", "", "one compute `type` only, f32 or bf16")
	python := f.String("python", "", "`program` with torch, for the peer")
	out := f.String("json", "", "`file` to write the results to as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *micro < 1 || *rounds < 1 {
		return cli.Usagef("--micro and --rounds must be positive")
	}
	clock := wall
	if *busy {
		clock = processor
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
	products := stepProducts(*micro)
	for _, t := range []blas.DType{blas.F32, blas.BF16} {
		if *only != "" && *only != t.String() {
			continue
		}
		for _, p := range products {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			line := result{product: p, DType: t.String(), Limit: peak.Rate(t, r.Threads)}
			if line.Ours, line.OneDNN, err = compare(ours, dnn, p, t, *rounds, clock); err != nil {
				return err
			}
			r.Results = append(r.Results, line)
		}
	}
	if err := r.peer(ctx, *python, *rounds); err != nil {
		r.TorchWhyNot = cli.OneLine(err.Error())
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

// compare measures one product on both devices in turns and returns the medians.
func compare(a, b blas.Device, p product, t blas.DType, rounds int, clock func() time.Duration) (rateA, rateB float64, err error) {
	runA, freeA := p.on(a, t)
	defer freeA()
	runB, freeB := p.on(b, t)
	defer freeB()
	var rates [2][]float64
	for round := range rounds + 1 {
		for i, run := range []func() error{runA, runB} {
			start := clock()
			if err := run(); err != nil {
				return 0, 0, err
			}
			if round > 0 { // the first warms up
				rates[i] = append(rates[i], p.flops()*float64(p.calls())/(clock()-start).Seconds()/1e9)
			}
		}
	}
	return median(rates[0]), median(rates[1]), nil
}

var started = time.Now()

func wall() time.Duration { return time.Since(started) }

// processor is the time that the processors gave this process.
func processor() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

func median(x []float64) float64 {
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
		if flops > 0 {
			s := total{DType: t, Ours: flops / ours, DNN: flops / dnn}
			if r.Torch != "" {
				s.Torch = flops / torch
			}
			r.Step = append(r.Step, s)
		}
	}
}

func (r *report) print() {
	fmt.Printf("GFLOP/s on %d threads, median, in turns. Ours: %s. oneDNN: %s", r.Threads, r.Device, r.OneDNN)
	if r.Torch != "" {
		fmt.Printf(". Peer: torch.mm, torch %s", r.Torch)
	}
	fmt.Println(".\n\n| product | m x n x k | per micro-batch | type | ours | oneDNN | ours / oneDNN | torch | ours / torch | limit | ours / limit |\n|---|---|---|---|---|---|---|---|---|---|---|")
	for _, l := range r.Results {
		fmt.Printf("| %s | %d x %d x %d | %d | %s | %s | %.0f | %.2f |\n", l.Label, l.M, l.N, l.K, l.Times, l.DType,
			versus(l.Ours, l.OneDNN, l.Torch), l.Limit, l.Ours/l.Limit)
	}
	for _, s := range r.Step {
		fmt.Printf("| **all of a step** | | | %s | %s | | |\n", s.DType, versus(s.Ours, s.DNN, s.Torch))
	}
	if r.TorchWhyNot != "" {
		fmt.Printf("\nno figures of PyTorch: %s\n", r.TorchWhyNot)
	}
}

func versus(ours, dnn, torch float64) string {
	s := fmt.Sprintf("%.0f | %.0f | %.2f | ", ours, dnn, ours/dnn)
	if torch == 0 {
		return s + "- | -"
	}
	return s + fmt.Sprintf("%.0f | %.2f", torch, ours/torch)
}
