package cpu_test

import (
	"flag"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"mvptargets/blas"
	"mvptargets/blas/blastest"
	"mvptargets/blas/cpu"
	"mvptargets/blas/ref"
)

// open starts a device; a path and products that are "" are the device's choice.
func open(t testing.TB, path, products string) *cpu.Device {
	t.Helper()
	d, err := start(t, path, products, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func start(t testing.TB, path, products string, threads int) (*cpu.Device, error) {
	t.Helper()
	t.Setenv("MVP_CPU", path)
	t.Setenv("MVP_GEMM", products)
	d, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, nil
}

var onPath = flag.String("path", "", "only run TestConformance on own products and this `instruction set` (MVP_CPU)")

// TestConformance runs on every path that this processor has, and on oneDNN's products.
func TestConformance(t *testing.T) {
	ways := []struct {
		path, products string
		threads        int
	}{{}, {products: "onednn"}, {"avx512bf16", "own", 0}, {"avx512", "own", 1}, {"avx2", "own", 3}, {"portable", "own", 0}}
	if testing.Short() {
		ways = ways[:1]
	}
	if *onPath != "" {
		ways = ways[:1]
		ways[0].path, ways[0].products = *onPath, "own"
	}
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		t.Run(compute.String(), func(t *testing.T) {
			var devices []blas.Device
			for _, w := range ways {
				d, err := start(t, w.path, w.products, w.threads)
				if err != nil && strings.Contains(err.Error(), "this processor offers") {
					t.Log(err)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Log(d.Info().Detail)
				devices = append(devices, d)
			}
			blastest.Run(t, ref.New(), compute, devices...)
		})
	}
}

// TestSameBits runs one step's worth of sums twice: threads may not change their order.
func TestSameBits(t *testing.T) {
	run := func() []float64 {
		d := open(t, "", "")
		x, g := d.Alloc("x", blas.F32, 197, 64), d.Alloc("g", blas.F32, 64, 64)
		v := make([]float64, x.Len())
		for i := range v {
			v[i] = math.Sin(float64(i))
		}
		blas.Set(d, x, v)
		sum := d.Alloc("sum", blas.F32, 64)
		for range 3 {
			d.Gemm(blas.Gemm{C: g, A: x, B: x, TransA: true, Accumulate: true, ColSum: sum})
		}
		out, err := blas.Get(d, g)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if !slices.Equal(run(), run()) {
		t.Error("two runs differ")
	}
}

// TestOutOfMemory asks for more than any machine has: the next Sync tells, and the device goes on.
func TestOutOfMemory(t *testing.T) {
	d := open(t, "", "")
	x := d.Alloc("huge", blas.F32, 1<<44)
	d.SumSquares(blas.SumSquares{Out: d.Alloc("out", blas.F32, 1), X: x})
	if err := d.Sync(); err == nil || !strings.Contains(err.Error(), "alloc huge") {
		t.Errorf("Sync gave %v", err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("second Sync gave %v", err)
	}
}

// TestThreadsSleepAndWake leaves the threads alone for longer and for less than they look for work, and runs operations whose threads meet.
func TestThreadsSleepAndWake(t *testing.T) {
	const rows, width = 77, 5000
	d, err := start(t, "", "", 4)
	if err != nil {
		t.Fatal(err)
	}
	x, zero, loss := d.Alloc("x", blas.F32, rows, width), d.Alloc("zero", blas.F32, rows, width), d.Alloc("loss", blas.F32, 1)
	ones := make([]float64, rows*width)
	for i := range ones {
		ones[i] = 1
	}
	blas.Set(d, x, ones)
	const rounds = 300
	for i := range rounds {
		d.SmoothL1Loss(blas.SmoothL1Loss{Loss: loss, Pred: x, Target: zero, Beta: 2, Scale: 1})
		if i%3 == 0 {
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i) * 5 * time.Microsecond)
		}
	}
	got, err := blas.Get(d, loss)
	if want := rounds * rows * width / 4.; err != nil || got[0] != want {
		t.Errorf("got %v, %v, want %g", got, err, want)
	}
}

func TestUnknownPath(t *testing.T) {
	t.Setenv("MVP_CPU", "sse9")
	if _, err := cpu.New(cpu.Options{}); err == nil || !strings.Contains(err.Error(), "portable") {
		t.Errorf("MVP_CPU=sse9 gave %v", err)
	}
}

// TestChunkedEpilogue takes a product of more rows than are kept in the cache at a time: drop path factors, residual and
// output must stay in step.
func TestChunkedEpilogue(t *testing.T) {
	const m, n, per = 600, 4096, 3
	d := open(t, "", "")
	a, b := d.Alloc("a", blas.F32, m, 1), d.Alloc("b", blas.F32, n, 1)
	c, keep := d.Alloc("c", blas.F32, m, n), d.Alloc("keep", blas.F32, m/per)
	row, one, factors, residual := make([]float64, m), make([]float64, n), make([]float64, m/per), make([]float64, m*n)
	for i := range row {
		row[i], factors[i/per] = float64(i), float64(i/per%2)
	}
	for i := range residual {
		one[i%n], residual[i] = 1, float64(i/n%11)
	}
	for _, s := range []struct {
		t blas.Tensor
		v []float64
	}{{a, row}, {b, one}, {c, residual}, {keep, factors}} {
		blas.Set(d, s.t, s.v)
	}
	d.Gemm(blas.Gemm{A: a, B: b, TransB: true, C: c, Residual: c, Epilogue: blas.AddResidual, Keep: keep, RowsPer: per})
	got, err := blas.Get(d, c)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if want := float64(i/n%11) + factors[i/n/per]*float64(i/n); v != want {
			t.Fatalf("row %d holds %g, want %g", i/n, v, want)
		}
	}
}
