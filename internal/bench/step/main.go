// step measures a training step of a ViT-B/16 student on this processor, beside the same step written with PyTorch and timm, in turns:
// images per second, and the peak memory of each.
//
//	go run ./internal/bench/step [--python PYTHON] [--json FILE]
//	go run ./internal/bench/step --dtype bf16 --profile
//	go run ./internal/bench/step --memory
//	go run ./internal/bench/step --dtype bf16 --alone --device cuda
//
// A Python must have torch and timm; without one its columns stay empty.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"mvptargets/internal/bench/figures"
	"mvptargets/internal/cli"
)

func main() { cli.Main("bench-step", run) }

// Each line of the table is one of these.
var settings = []setting{{"f32", false}, {"bf16", false}, {"bf16", true}}

// setting is a compute type; Compiled says whether the peer is torch.compile'd.
type setting struct {
	DType    string `json:"dtype"`
	Compiled bool   `json:"peer_compiled"`
}

// result is a line of the table; rates are images per second, medians over all rounds' steps.
type result struct {
	setting
	Ours       float64 `json:"ours"`
	Peer       float64 `json:"peer,omitempty"`
	Ratio      float64 `json:"ratio,omitempty"`      // of these
	RatioLow   float64 `json:"ratio_low,omitempty"`  // the lowest of a turn's
	RatioHigh  float64 `json:"ratio_high,omitempty"` // and the highest
	Limit      float64 `json:"limit"`                // if every multiplication ran at the cores' peak in registers
	Memory     int64   `json:"peak_rss"`
	PeerMemory int64   `json:"peer_peak_rss,omitempty"`
	PeerWhyNot string  `json:"peer_why_not,omitempty"`
	Device     string  `json:"device"`
	PeerIs     string  `json:"peer_is,omitempty"`
}

type bench struct {
	job    job
	rounds int
	python string
}

func run(ctx context.Context, args []string) error {
	f := cli.Flags("bench-step", "[flags]\nMeasures forward, backward and update of a ViT-B/16 student on made-up images, and the same in PyTorch.")
	b := bench{}
	f.IntVar(&b.job.Batch, "batch", 32, "`images` in a step")
	f.IntVar(&b.job.Micro, "micro", 16, "`images` in a micro-batch of ours, divides --batch")
	f.IntVar(&b.job.Steps, "steps", 2, "timed steps in a round, a `number`")
	f.IntVar(&b.job.Depth, "depth", 12, "blocks, a `number`")
	f.IntVar(&b.job.Threads, "threads", 0, "`threads`; 0: one per core")
	f.Float64Var(&b.job.DropPath, "drop-path", 0.1, "`rate` of the last block, of ours and of the peer; 0: no drop path")
	f.IntVar(&b.rounds, "rounds", 3, "`turns` of ours and the peer's")
	only := f.Enum("dtype", "all", []string{"all", "f32", "bf16"}, "compute type")
	device := f.Enum("device", "cpu", []string{"cpu", "cuda"}, "what computes; cuda runs --alone")
	f.StringVar(&b.python, "python", "", "`program` with torch and timm, for the peer")
	profile := f.Bool("profile", false, "print a table of our operations in place of the comparison")
	memory := f.Bool("memory", false, "print the memory of steps of --batch, 8 and 64 times --batch, in place of the comparison")
	f.IntVar(&b.job.Cut, "cut", 0, "of --alone: run no more than this `number` of micro-batches of a step; 0: all")
	alone := f.Bool("alone", false, "run one round of ours and print it as JSON, in place of the comparison")
	out := f.String("json", "", "`file` to write the results to as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.job.Micro < 1 || b.job.Batch%b.job.Micro != 0 || b.job.Steps < 1 || b.rounds < 1 {
		return cli.Usagef("--micro must divide --batch, and --steps and --rounds be positive")
	}
	if !(b.job.DropPath >= 0 && b.job.DropPath < 1) {
		return cli.Usagef("--drop-path must be at least 0 and below 1")
	}
	b.job.Device = *device
	if *memory {
		return b.memory(ctx, *only)
	}
	if *profile || *alone || *device == "cuda" {
		b.job.DType = *only
		if *only == "all" {
			b.job.DType = "bf16"
		}
		if *profile {
			return b.job.profile(ctx, os.Stdout)
		}
		m, err := b.job.measure(ctx)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(m)
	}
	var results []result
	for _, s := range settings {
		if *only != "all" && *only != s.DType {
			continue
		}
		r, err := b.compare(ctx, s)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	b.print(results)
	return figures.Write(*out, results)
}

// compare runs ours and the peer in turns, each round in a process of its own, so that peak memory is that of one.
func (b *bench) compare(ctx context.Context, s setting) (result, error) {
	r := result{setting: s}
	j := b.job
	j.DType = s.DType
	var ours, peers []float64
	for range b.rounds {
		m, err := j.child(ctx)
		if err != nil {
			return r, err
		}
		ours = append(ours, m.Seconds...)
		r.Memory, r.Device, r.Limit = max(r.Memory, m.Memory), m.Device, m.Limit
		if r.PeerWhyNot != "" {
			continue
		}
		p, err := j.peer(ctx, b.python, s.Compiled)
		if err != nil {
			r.PeerWhyNot = cli.OneLine(err.Error())
			continue
		}
		peers = append(peers, p.Seconds...)
		r.PeerMemory, r.PeerIs = max(r.PeerMemory, p.Memory), p.Device
		turn := median(p.Seconds) / median(m.Seconds)
		if r.RatioLow == 0 || turn < r.RatioLow {
			r.RatioLow = turn
		}
		r.RatioHigh = max(r.RatioHigh, turn)
	}
	r.Ours = float64(j.Batch) / median(ours)
	if len(peers) > 0 && r.PeerWhyNot == "" {
		r.Peer = float64(j.Batch) / median(peers)
		r.Ratio = r.Ours / r.Peer
	}
	return r, nil
}

func median(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

func (b *bench) print(results []result) {
	for _, r := range results {
		if r.PeerIs != "" {
			fmt.Printf("Ours: %s. Peer: %s.\n", r.Device, r.PeerIs)
			break
		}
	}
	fmt.Printf("images per second, batch %d (ours in micro-batches of %d), depth %d, drop path %g, median of %d steps in %d turns (ratio: also each turn's lowest and highest)\n",
		b.job.Batch, b.job.Micro, b.job.Depth, b.job.DropPath, b.job.Steps*b.rounds, b.rounds)
	if b.job.DropPath > 0 {
		fmt.Println("Ours skips the branches of the samples that drop path drops; PyTorch multiplies them by 0, and the limit is its multiplications.")
	}
	fmt.Println("| step | ours | PyTorch | ours / PyTorch | limit | ours / limit | peak memory, GB: ours | PyTorch |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, r := range results {
		name, peer, memory := r.DType, "- | -", "-"
		if r.Compiled {
			name += ", the peer compiled"
		}
		if r.Peer > 0 {
			peer, memory = fmt.Sprintf("%.2f | %.2f (%.2f to %.2f)", r.Peer, r.Ratio, r.RatioLow, r.RatioHigh), fmt.Sprintf("%.2f", float64(r.PeerMemory)/1e9)
		}
		fmt.Printf("| %s | %.2f | %s | %.2f | %.2f | %.2f | %s |\n", name, r.Ours, peer, r.Limit, r.Ours/r.Limit, float64(r.Memory)/1e9, memory)
	}
	for _, r := range results {
		if r.PeerWhyNot != "" {
			fmt.Printf("no PyTorch figures for %s: %s\n", r.DType, r.PeerWhyNot)
		}
	}
}
