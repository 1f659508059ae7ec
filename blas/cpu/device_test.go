package cpu_test

import (
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/blastest"
	"mvptargets/blas/cpu"
	"mvptargets/blas/ref"
)

// open starts a device on one code path, or skips where this machine lacks it.
func open(t testing.TB, path, dnn string) *cpu.Device {
	t.Helper()
	t.Setenv("MVP_CPU", path)
	if dnn != "" {
		t.Setenv("MVP_ONEDNN", dnn)
	}
	d, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestConformance(t *testing.T) {
	for _, c := range []struct{ path, dnn string }{{"", ""}, {"avx512", "off"}, {"avx2", "off"}, {"portable", "off"}} {
		for _, compute := range []blas.DType{blas.F32, blas.BF16} {
			t.Run(c.path+c.dnn+"/"+compute.String(), func(t *testing.T) {
				d := open(t, c.path, c.dnn)
				t.Log(d.Info().Detail)
				blastest.Run(t, d, ref.New(), compute)
			})
		}
	}
}
