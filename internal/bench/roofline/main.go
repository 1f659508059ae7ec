// roofline computes, on paper, what a training step of ViT-B/16 takes on a GPU: each operation's floating-point operations and bytes,
// the time that the card's peak and memory allow, the sum, and the memory per component. Nothing is measured and no GPU is needed.
package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"mvptargets/blas"
	"mvptargets/internal/cli"
	"mvptargets/student"
)

// card is a GPU's data sheet: dense bf16 on tensor cores, float32 outside them, memory bandwidth and size. Shared memory gives 128 bytes a clock
// and multiprocessor, at the clock that belongs to the tensor cores' figure.
type card struct {
	name                              string
	tensor, vector, bandwidth, shared float64 // FLOP/s, FLOP/s, bytes/s, bytes/s
	memory                            float64 // bytes
	block                             int     // bytes of shared memory that a block can have
}

var cards = map[string]card{
	"h100": {"H100 SXM", 989.4e12, 66.9e12, 3.35e12, 128 * 132 * 1.83e9, 80e9, 227 << 10},
	"a100": {"A100 SXM 80 GB", 312e12, 19.5e12, 2.039e12, 128 * 108 * 1.41e9, 80e9, 163 << 10},
}

// What is assumed to be reached of the limits: figures that cuBLAS and kernels of this kind are known for on these cards, not ours.
const (
	productShare   = 0.75   // of the tensor cores' peak, large products by cuBLASLt
	attentionShare = 0.35   // of that peak, attention with mma.sync
	memoryShare    = 0.85   // of the bandwidth of memory and of shared memory
	launchSeconds  = 1.5e-6 // between two kernels of a graph
)

func main() { cli.Main("roofline", run) }

func run(_ context.Context, args []string) error {
	f := cli.Flags("roofline", "[flags]\nComputes, without measuring anything, what a training step of ViT-B/16 takes on a GPU.")
	name := f.Enum("card", "h100", []string{"h100", "a100"}, "data sheet to take")
	batch := f.Int("batch", 256, "`images` in a step, one micro-batch")
	droppath := f.Bool("drop-path", true, "with drop path factors, as MVP's recipe has")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *batch < 1 {
		return cli.Usagef("--batch must be positive")
	}
	b := newBook(cards[*name])
	step(b, *batch, *droppath)
	_, err := fmt.Print(table(b, *batch))
	return err
}

// table is the whole text for the book's card.
func table(b *book, batch int) string {
	var w strings.Builder
	c := b.card
	fmt.Fprintf(&w, "ViT-B/16 at 224, batch %d, bf16, loss on 75 patches, on an %s: computed from its data sheet, not measured.\n\n", batch, c.name)
	times(&w, b, batch)
	memory(&w, b)
	return w.String()
}

// step books one step on b.
func step(b *book, batch int, dropPath bool) {
	config := student.Config{ImageSize: 224, PatchSize: 16, Width: 768, Depth: 12, Heads: 12, MLPRatio: 4, LayerScale: 0.1, RelPos: true, TargetDim: 512}
	m := student.NewModel(b, config, student.Options{Compute: blas.BF16, Batch: batch, LossRows: 75, Masked: 75, DropPath: dropPath, Loss: student.Loss{Kind: "cosine"}}, 1)
	clear(b.rows)
	m.BeginStep()
	batchOf := student.Batch{N: batch}
	m.Upload(&batchOf)
	m.MicroStep()
	m.EndStep(student.Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: 3}, 1e-3, 0.05)
}

func onTensorCores(name string) bool {
	return strings.HasPrefix(name, "gemm") || strings.HasPrefix(name, "attention")
}

// limit is the roofline's time of a row in seconds, and the time with the assumed shares and the launches.
func limit(c card, r *row) (bound string, least, expected float64) {
	peak, share := c.vector, memoryShare
	if onTensorCores(r.name) {
		peak, share = c.tensor, productShare
		if strings.HasPrefix(r.name, "attention") {
			share = attentionShare
		}
	}
	bound, least, expected = "compute", r.executed/peak, r.executed/peak/share
	for _, m := range []struct {
		name       string
		bytes, per float64
	}{{"memory", r.bytes, c.bandwidth}, {"shared memory", r.shared, c.shared}} {
		if t := m.bytes / m.per; t > least {
			bound, least = m.name, t
		}
		expected = max(expected, m.bytes/m.per/memoryShare)
	}
	return bound, least, expected + launchSeconds*float64(r.calls)
}

func times(w io.Writer, b *book, batch int) {
	c := b.card
	var rows []*row
	for _, r := range b.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(x, y *row) int {
		_, tx, _ := limit(c, x)
		_, ty, _ := limit(c, y)
		if tx != ty {
			if tx > ty {
				return -1
			}
			return 1
		}
		return strings.Compare(x.name, y.name)
	})
	fmt.Fprintln(w, "| operation | calls | GFLOP | GB | bound by | limit, ms | expected, ms |")
	fmt.Fprintln(w, "|---|--:|--:|--:|---|--:|--:|")
	var least, expected, useful, bytes float64
	for _, r := range rows {
		bound, l, e := limit(c, r)
		least, expected, bytes = least+l, expected+e, bytes+r.bytes
		if onTensorCores(r.name) {
			useful += r.flops
		}
		fmt.Fprintf(w, "| %s | %d | %.1f | %.3f | %s | %.3f | %.3f |\n", r.name, r.calls, r.flops/1e9, r.bytes/1e9, bound, 1e3*l, 1e3*e)
	}
	fmt.Fprintf(w, "| **sum** | | %.0f | %.1f | | **%.2f** | **%.2f** |\n\n", useful/1e9, bytes/1e9, 1e3*least, 1e3*expected)
	show := func(what string, t float64) {
		fmt.Fprintf(w, "- %s: %.0f images/s, %.0f %% of the bf16 peak (%.1f GFLOP per image).\n", what, float64(batch)/t, 100*useful/t/c.tensor, useful/float64(batch)/1e9)
	}
	show("at the limit", least)
	show(fmt.Sprintf("expected, with products at %.0f %% of the peak, attention at %.0f %%, memory at %.0f %%, %.1f us a launch", 100*productShare,
		100*attentionShare, 100*memoryShare, 1e6*launchSeconds), expected)
	fmt.Fprintln(w)
}

// memory adds up what the model allocates, and the device's own.
func memory(w io.Writer, b *book) {
	groups := map[string]float64{}
	for name, n := range b.bytes {
		groups[component(name)] += float64(n)
	}
	groups["the device's own: staging, cuBLASLt's workspace, scratch"] = 128e6 + 32<<20 + 24e6
	var names []string
	var total float64
	for name, n := range groups {
		names, total = append(names, name), total+n
	}
	slices.SortFunc(names, func(x, y string) int {
		if groups[x] != groups[y] {
			if groups[x] > groups[y] {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	fmt.Fprintln(w, "| memory | GB |\n|---|--:|")
	for _, name := range names {
		fmt.Fprintf(w, "| %s | %.3f |\n", name, groups[name]/1e9)
	}
	fmt.Fprintf(w, "| **sum** of %.0f | **%.2f** |\n", b.card.memory/1e9, total/1e9)
}

// component groups the model's tensors by what they are for.
func component(name string) string {
	switch {
	case strings.HasPrefix(name, "parameters") || strings.Contains(name, "scaled"):
		return "parameters, float32, in bf16 and with layer scale folded in"
	case name == "gradients" || strings.HasPrefix(name, "adam"):
		return "gradients and both moments"
	case name == "pixels" || name == "mask" || name == "entry index" || name == "loss rows" || name == "targets" || strings.HasPrefix(name, "drop path"):
		return "a micro-batch"
	case strings.HasPrefix(name, "d") && !strings.HasPrefix(name, "drop"):
		return "gradients in flight"
	}
	return "activations kept for backward"
}
