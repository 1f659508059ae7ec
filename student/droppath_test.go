package student

import (
	"math"
	"slices"
	"testing"

	"mvptargets/blas"
)

// The factors' mean is 1 in every branch, so that the expected residual stream is that of evaluation; rates rise with depth.
func TestDropPathFactors(t *testing.T) {
	const depth, samples, rate = 4, 20000, 0.3
	keep := make([]float32, 2*depth)
	sum, zeros := make([]float64, 2*depth), make([]float64, 2*depth)
	for s := range uint64(samples) {
		FillKeep(keep, 0, 1, depth, rate, 1, 2, s)
		for i, k := range keep {
			sum[i] += float64(k) / samples
			if k == 0 {
				zeros[i] += 1.0 / samples
			}
		}
	}
	for i := range sum {
		p := rate * float64(i/2) / (depth - 1)
		// 5 standard errors of a share p, and of a mean of 0 and 1/(1-p).
		if e := 5 * math.Sqrt(p*(1-p)/samples); math.Abs(zeros[i]-p) > e || math.Abs(sum[i]-1) > e/(1-p)+1e-6 {
			t.Errorf("branch %d: dropped %.3f, want %.3f; mean factor %.3f, want 1", i, zeros[i], p, sum[i])
		}
	}
}

// What a device leaves undefined of dropped samples reaches nothing: a step whose every number was NaN, no sample dropped, changes no bit of
// the next one's gradients.
func TestDroppedSamplesLeaveNothingBehind(t *testing.T) {
	card, _ := gpu(t)
	for _, c := range []struct {
		products string
		compute  blas.DType
		dev      blas.Device
	}{{"own", blas.F32, nil}, {"own", blas.BF16, nil}, {"onednn", blas.F32, nil}, {"onednn", blas.BF16, nil}, {"cuda", blas.F32, card}, {"cuda", blas.BF16, card}} {
		t.Run(c.products+" "+c.compute.String(), func(t *testing.T) {
			if c.dev == nil {
				t.Setenv("MVP_GEMM", c.products)
				c.dev = processor(t)
			}
			fresh, g := goldenModelOn(t, c.dev, c.compute)
			defer fresh.Close()
			m, _ := goldenModelOn(t, c.dev, c.compute)
			defer m.Close()
			gradients(fresh)

			spoilt, b := m.value("patch_embed.proj.bias"), goldenBatch(t)
			blas.Set(m.dev, spoilt, slices.Repeat([]float64{math.NaN()}, spoilt.Len()))
			for i := range b.Keep {
				b.Keep[i] = 1.25
			}
			m.Upload(b)
			gradients(m)
			if v := get(t, m, m.blocks[1].g); !math.IsNaN(v[0]) || !math.IsNaN(v[len(v)-1]) {
				t.Fatal("the step was to be NaN")
			}
			blas.Set(m.dev, spoilt, g["param.patch_embed.proj.bias"])
			m.Upload(goldenBatch(t))
			gradients(m)

			for _, p := range m.Params.List {
				if p.Name != "" && !slices.Equal(get(t, m, m.grad(p.Name)), get(t, fresh, fresh.grad(p.Name))) {
					t.Errorf("the gradient of %s differs", p.Name)
				}
			}
		})
	}
}
