package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/ref"
)

// attend is attention and its backward on random numbers; DQKV and DBias, the latter empty without bias.
func attend(t *testing.T, d blas.Device, samples, n, heads int, biased, dropped bool) (dqkv, dbias []float64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var all []blas.Tensor
	made := func(dt blas.DType, shape ...int) blas.Tensor {
		x := d.Alloc("test", dt, shape...)
		v := make([]float64, x.Len())
		for i := range v {
			v[i] = rng.NormFloat64()
		}
		blas.Set(d, x, v)
		all = append(all, x)
		return x
	}
	rows, width := samples*n, heads*wholeWidth
	f := blas.Attention{QKV: made(blas.BF16, rows, 3*width), Out: made(blas.BF16, rows, width), LSE: made(blas.F32, samples, heads, n), Heads: heads}
	b := blas.AttentionBackward{DQKV: made(blas.BF16, rows, 3*width), DOut: made(blas.BF16, rows, width), Out: f.Out, LSE: f.LSE, QKV: f.QKV, Heads: heads}
	if biased {
		f.Bias, b.DBias = made(blas.F32, heads, n, n), made(blas.F32, heads, n, n)
		b.Bias = f.Bias
	}
	if dropped { // every other sample, the first among them; there its dout is 0
		f.Keep = made(blas.F32, samples)
		keep, dout := make([]float64, samples), make([]float64, rows*width)
		for i := range dout {
			if s := i / (n * width); s%2 == 1 {
				keep[s], dout[i] = 1.25, rng.NormFloat64()
			}
		}
		blas.Set(d, f.Keep, keep)
		blas.Set(d, b.DOut, dout)
		b.Keep = f.Keep
	}
	d.Attention(f)
	d.AttentionBackward(b)
	read := func(x blas.Tensor) []float64 {
		v, err := blas.Get(d, x)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	dqkv = read(b.DQKV)
	if biased {
		dbias = read(b.DBias)
	}
	for _, x := range all {
		d.Free(x)
	}
	return dqkv, dbias
}

// One kernel for a whole head where shared memory has the room, two where it has not: both agree with ref, for one token and 197, a last
// strip of keys alone and in a pair, samples for each group and some left over.
func TestAttentionBackwardInOneKernelAndInTwo(t *testing.T) {
	d, _ := emulated(t)
	room := d.gpu.sharedMemory
	exact := ref.New()
	for _, c := range []struct {
		samples, n, heads int
		biased, dropped   bool
	}{{1, 1, 1, true, false}, {5, 9, 2, true, false}, {5, 9, 2, true, true}, {2, 17, 1, false, true}, {1, 9, 1, true, true}, {3, 33, 3, true, false},
		{1, 65, 1, false, false}, {1, 197, 1, true, false}} {
		t.Run(fmt.Sprintf("%d x %d tokens, %d heads, bias %v, dropped %v", c.samples, c.n, c.heads, c.biased, c.dropped), func(t *testing.T) {
			want, wantBias := attend(t, exact, c.samples, c.n, c.heads, c.biased, c.dropped)
			for _, shared := range []int{room, wholeBytes - 1} {
				d.wait(func() { d.gpu.sharedMemory = shared })
				got, gotBias := attend(t, d, c.samples, c.n, c.heads, c.biased, c.dropped)
				near(t, fmt.Sprint("DQKV with ", shared, " bytes"), got, want)
				near(t, fmt.Sprint("DBias with ", shared, " bytes"), gotBias, wantBias)
			}
		})
	}
	d.wait(func() { d.gpu.sharedMemory = room })
}

// near allows what probabilities and dS in bf16 make of attention's gradients, as blastest does: 3·2^-6 of the element or of the root mean square.
func near(t *testing.T, what string, got, want []float64) {
	t.Helper()
	square := 0.0
	for _, w := range want {
		square += w * w
	}
	rms := math.Sqrt(square / float64(max(len(want), 1)))
	for i, w := range want {
		if e := math.Abs(got[i] - w); !(e <= 3./64*math.Max(math.Abs(w), rms)) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], w)
		}
	}
}
