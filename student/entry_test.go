package student

import (
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/ref"
)

// Without absolute positions the rows of tokens that are alike may be computed once: loss and gradients are those of a model that computes
// every row, in one block too, which is then the last as well. Float32's sums run in another order.
func TestSharedEntryEqualsAllRows(t *testing.T) {
	card, _ := gpu(t)
	for _, c := range []struct {
		name      string
		dev       blas.Device
		compute   blas.DType
		depth     int
		tolerance float64
	}{{"ref", ref.New(), blas.F64, 3, 1e-10}, {"ref, one block", ref.New(), blas.F64, 1, 1e-10}, {"cpu", processor(t), blas.F32, 3, 2e-5},
		{"cuda", card, blas.F32, 3, 2e-5}, {"cuda, one block", card, blas.F32, 1, 2e-5}} {
		t.Run(c.name, func(t *testing.T) {
			config := goldenSmall.config
			config.AbsPos, config.Depth = false, c.depth
			batch := goldenBatch(t)
			batch.Keep = batch.Keep[:2*c.depth*batch.N]
			var models [2]*Model
			for i, masked := range []int{0, goldenSmall.masked} {
				m := NewModel(c.dev, config, Options{Compute: c.compute, Batch: batch.N, LossRows: goldenSmall.masked, Masked: masked, DropPath: true,
					Loss: Loss{Kind: "cosine"}}, 1)
				defer m.Close()
				m.Upload(batch)
				m.Refresh()
				m.BeginStep()
				for range 2 { // the second micro-batch adds to the first
					m.MicroStep()
				}
				m.finishGradients()
				models[i] = m
			}
			all, shared := models[0], models[1]
			compare := func(name string, x, want blas.Tensor) {
				if e := relative(get(t, shared, x), get(t, all, want)); !(e <= c.tolerance) {
					t.Errorf("%s differs by %.2g", name, e)
				}
			}
			compare("loss", shared.loss, all.loss)
			for _, p := range all.Params.List {
				if p.Name != "" {
					compare(p.Name, shared.grad(p.Name), all.grad(p.Name))
				}
			}
		})
	}
}
