package main

import (
	"math/rand/v2"
	"time"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
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

// calls is how often a product is computed in one timing, some 0.1 s of work or more.
func (p product) calls() int { return max(1, int(30e9/p.flops())) }

// warmUp is how often it is computed before: threads that slept start late, some of them on the same core, which a step sees only once.
func (p product) warmUp() int { return p.calls()/8 + 1 }

// on prepares the product on a device and returns what times a call, the mean of its calls, and what frees its memory.
func (p product) on(d *cpu.Device, t blas.DType) (run func() (time.Duration, error), free func()) {
	g := blas.Gemm{Label: p.Label, TransB: p.Kind == "forward", TransA: p.Kind == "dW", Accumulate: p.Kind == "dW"}
	c := t
	if g.Accumulate {
		c = t.Master()
	}
	g.A, g.B, g.C = filled(d, t, swap(g.TransA, p.M, p.K)), filled(d, t, swap(g.TransB, p.K, p.N)), filled(d, c, []int{p.M, p.N})
	run = func() (time.Duration, error) {
		var start, end time.Time
		for i := range p.warmUp() + p.calls() {
			if i == p.warmUp() {
				d.Stamp(&start)
			}
			d.Gemm(g)
		}
		d.Stamp(&end)
		err := d.Sync()
		return end.Sub(start) / time.Duration(p.calls()), err
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
