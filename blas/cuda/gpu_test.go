package cuda

import (
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/blastest"
	"mvptargets/blas/ref"
)

// TestConformanceOnThisGPU runs the conformance suite on the machine's own GPU, where there is one.
func TestConformanceOnThisGPU(t *testing.T) {
	gpus, _, err := List()
	if err != nil {
		t.Skip("no GPU: ", err)
	}
	if len(gpus) == 0 {
		t.Skip("the driver knows no GPU")
	}
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		t.Run(compute.String(), func(t *testing.T) {
			d, err := New()
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			t.Log(d.Info().Detail)
			blastest.Run(t, ref.New(), compute, d)
		})
	}
}
