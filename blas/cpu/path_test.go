package cpu_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
)

func TestUnknownProducts(t *testing.T) {
	t.Setenv("MVP_GEMM", "fast")
	if _, err := cpu.New(cpu.Options{}); err == nil || !strings.Contains(err.Error(), "onednn") {
		t.Errorf("MVP_GEMM=fast gave %v", err)
	}
}

// Without the library that was asked for, the device multiplies by itself and says so.
func TestMissingLibrary(t *testing.T) {
	t.Setenv("MVP_ONEDNN", "/nowhere/libdnnl.so.3")
	d := open(t, "", "onednn")
	if detail := d.Info().Detail; !strings.Contains(detail, "own matrix products because") || !strings.Contains(detail, "/nowhere/libdnnl.so.3") {
		t.Errorf("detail is %q", detail)
	}
	if got := product(t, d); got[0] == 0 {
		t.Error("no product")
	}
}

// Where the processor cannot run the AVX-512 kernels, their code runs all the same, compiled for AVX2 (narrow.h).
func TestNarrowedAVX512(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles and tests for a minute")
	}
	if _, err := start(t, "avx512", "own", 0); err == nil {
		t.Skip("this processor has AVX-512")
	}
	if _, err := start(t, "avx2", "own", 0); err != nil {
		t.Skip(err)
	}
	t.Setenv("MVP_CPU", "")
	t.Setenv("MVP_GEMM", "")
	for _, path := range []string{"avx512", "avx512bf16"} {
		out, err := exec.CommandContext(t.Context(), "go", "test", "-tags", "narrow", "-run", "Conformance|Dropped|ThreadsDoNotChange", ".", "-path", path).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}

// Where OpenMP gives fewer threads than were asked for, the device knows: the room of a product depends on their number.
func TestOpenMPGivesFewerThreads(t *testing.T) {
	const limit = "OMP_THREAD_LIMIT" // read when the library is opened: in a process of its own
	if os.Getenv(limit) == "" {
		t.Setenv(limit, "3")
		out, err := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v").CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	d, err := start(t, "", "onednn", 4)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Info().Paths) < 2 {
		t.Skip(d.Info().Detail)
	}
	if got := d.Info().Threads; got != 3 {
		t.Errorf("%d threads, want 3", got)
	}
	product(t, d)
}

// A product without columns still adds up the rows of A.
func TestColumnSumsWithoutColumns(t *testing.T) {
	d := open(t, "", "own")
	sums := d.Alloc("sums", blas.F32, 2)
	a, b, c := d.Alloc("a", blas.F32, 3, 2), d.Alloc("b", blas.F32, 3, 0), d.Alloc("c", blas.F32, 2, 0)
	blas.Set(d, a, []float64{1, 2, 3, 4, 5, 6})
	d.Gemm(blas.Gemm{A: a, TransA: true, B: b, C: c, ColSum: sums})
	if got, err := blas.Get(d, sums); err != nil || !slices.Equal(got, []float64{9, 12}) {
		t.Errorf("sums are %v, %v, want 9 and 12", got, err)
	}
}

// The sum of an element runs in one order whatever the number of threads.
func TestThreadsDoNotChangeProducts(t *testing.T) {
	var want []float64
	for _, threads := range []int{1, 2, 3, 5} {
		d, err := cpu.New(cpu.Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		got := product(t, d)
		d.Close()
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d threads give another product than 1", threads)
		}
	}
}

// product is a weight gradient whose k is cut, and a forward product.
func product(t *testing.T, d blas.Device) []float64 {
	t.Helper()
	var out []float64
	for _, transposed := range []bool{true, false} {
		const m, n, k = 75, 197, 1701
		a, b, c := d.Alloc("a", blas.BF16, k, m), d.Alloc("b", blas.BF16, k, n), d.Alloc("c", blas.F32, m, n)
		for _, x := range []blas.Tensor{a, b} {
			v := make([]float64, x.Len())
			for i := range v {
				v[i] = float64(i%17) / 7
			}
			blas.Set(d, x, v)
		}
		if !transposed {
			a, b = a.Reshape(m, k), b.Reshape(n, k)
		}
		d.Gemm(blas.Gemm{A: a, TransA: transposed, B: b, TransB: !transposed, C: c})
		v, err := blas.Get(d, c)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v...)
	}
	return out
}
