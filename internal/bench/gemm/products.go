package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"

	"mvptargets/blas"
)

// ViT-B/16 at 224 pixels with 75 of 196 patches masked.
const width, hidden, depth, tokens, patches, masked, target = 768, 3072, 12, 197, 196, 75, 512

// product is one kind of matrix product: C [M, N] over K. Kind is "forward" (x·Wᵀ), "dX" (dy·W), or "dW" (dyᵀ·x, float32, added up).
type product struct {
	Label string `json:"label"`
	Kind  string `json:"kind"`
	M     int    `json:"m"`
	N     int    `json:"n"`
	K     int    `json:"k"`
	Times int    `json:"times"` // in one micro-batch
}

func (p product) flops() float64 { return 2 * float64(p.M) * float64(p.N) * float64(p.K) }

// stepProducts lists the products of one micro-batch. The first block's q, k and v are of the class token, the mask token and the patches that
// are seen, which alone are embedded; the last block's end and the head see the masked patches only.
func stepProducts(micro int) (out []product) {
	layer := func(label string, rows, in, outs, times int, dx bool) {
		out = append(out, product{label, "forward", rows, outs, in, times})
		if dx {
			out = append(out, product{label + " dX", "dX", rows, in, outs, times})
		}
		out = append(out, product{label + " dW", "dW", outs, in, rows, times})
	}
	rows, seen, last := micro*tokens, micro*(patches-masked), micro*masked
	layer("first qkv", 2+seen, width, 3*width, 1, true)
	layer("qkv", rows, width, 3*width, depth-1, true)
	layer("proj", rows, width, width, depth-1, true)
	layer("fc1", rows, width, hidden, depth-1, true)
	layer("fc2", rows, hidden, width, depth-1, true)
	layer("last proj", last, width, width, 1, true)
	layer("last fc1", last, width, hidden, 1, true)
	layer("last fc2", last, hidden, width, 1, true)
	layer("head", last, width, target, 1, true)
	layer("patch embedding", seen, width, width, 1, false)
	return out
}

// calls is how often a product is computed in one timing, some 0.1 s of work, so that the wait for the last one, which a step has only
// once, does not count.
func (p product) calls() int { return max(1, int(30e9/p.flops())) }

// on prepares the product on a device and returns what computes it so often, and what frees its memory.
func (p product) on(d blas.Device, t blas.DType) (run func() error, free func()) {
	g := blas.Gemm{Label: p.Label, TransB: p.Kind == "forward", TransA: p.Kind == "dW", Accumulate: p.Kind == "dW"}
	c := t
	if g.Accumulate {
		c = t.Master()
	}
	g.A, g.B, g.C = filled(d, t, swap(g.TransA, p.M, p.K)), filled(d, t, swap(g.TransB, p.K, p.N)), filled(d, c, []int{p.M, p.N})
	run = func() error {
		for range p.calls() {
			d.Gemm(g)
		}
		return d.Sync()
	}
	free = func() {
		for _, x := range []blas.Tensor{g.A, g.B, g.C} {
			d.Free(x)
		}
	}
	return run, free
}

func swap(yes bool, r, c int) []int {
	if yes {
		r, c = c, r
	}
	return []int{r, c}
}

// filled is a tensor of normal values: zeros could be faster.
func filled(d blas.Device, t blas.DType, shape []int) blas.Tensor {
	x := d.Alloc("bench", t, shape...)
	r, v := rand.New(rand.NewPCG(1, 2)), make([]float64, x.Len())
	for i := range v {
		v[i] = r.NormFloat64()
	}
	blas.Set(d, x, v)
	return x
}

//go:embed peer.py
var peerScript string

// peer fills in torch.mm's rates.
func (r *report) peer(ctx context.Context, python string, rounds int) error {
	if python == "" {
		return errors.New("no Python was given")
	}
	request, err := json.Marshal(map[string]any{"products": r.Results, "threads": r.Threads, "rounds": rounds})
	if err != nil {
		return err
	}
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-c", peerScript)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(request), &out, &problem
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(problem.String()), "\n")
		return fmt.Errorf("%s: %w: %s", python, err, lines[len(lines)-1])
	}
	var answer struct {
		Torch string    `json:"torch"`
		Rates []float64 `json:"rates"`
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || len(answer.Rates) != len(r.Results) {
		return fmt.Errorf("%s printed %q", python, out.String())
	}
	r.Torch = answer.Torch
	for i := range r.Results {
		r.Results[i].Torch = answer.Rates[i]
	}
	return nil
}
