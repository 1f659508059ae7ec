package cuda

import (
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/blastest"
	"mvptargets/blas/cuda/emulator"
	"mvptargets/blas/ref"
)

// emulated opens the device on the emulated GPU. Its end checks that everything was given back.
func emulated(t testing.TB) (*Device, *emulator.Device) {
	t.Helper()
	gpu := emulator.Use(t)
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if n := gpu.Left(); n != 0 {
			t.Errorf("%d allocations, streams, events, modules, graphs or contexts are left", n)
		}
	})
	return d, gpu
}

func TestConformanceOnTheEmulatedGPU(t *testing.T) {
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		t.Run(compute.String(), func(t *testing.T) {
			d, _ := emulated(t)
			t.Log(d.Info().Detail)
			blastest.Run(t, d, ref.New(), compute)
		})
	}
}
