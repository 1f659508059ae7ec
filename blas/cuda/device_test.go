package cuda

import (
	"fmt"
	"math"
	"slices"
	"strings"
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
		if wrong := gpu.Finish(); wrong != "" {
			t.Error(wrong)
		}
	})
	return d, gpu
}

func TestConformanceOnTheEmulatedGPU(t *testing.T) {
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		t.Run(compute.String(), func(t *testing.T) {
			d, _ := emulated(t)
			t.Log(d.Info().Detail)
			blastest.Run(t, ref.New(), compute, d)
		})
	}
}

// filled makes a tensor of values that depend on their place.
func filled(d blas.Device, t blas.DType, shape ...int) blas.Tensor {
	x := d.Alloc("test", t, shape...)
	v := make([]float64, x.Len())
	for i := range v {
		v[i] = math.Sin(float64(i))
	}
	blas.Set(d, x, v)
	return x
}

// What the emulated GPU is for: launches that a real one would run into garbage, now and then, end with the place named.
func TestTheEmulatedGPUCatches(t *testing.T) {
	for _, c := range []struct {
		name, want string
		run        func(d *Device) func() error // prepares, and returns the launch
	}{
		{"a write behind the end", "write of", func(d *Device) func() error {
			x, v := filled(d, blas.F32, 8, 64), filled(d, blas.F32, 64)
			y, stat := d.Alloc("y", blas.F32, 7, 64), d.Alloc("stat", blas.F32, 8)
			return func() error {
				return d.launch("layer_norm_f32", rowsOf(8), y, stat, stat, x, v, v, 8, 64, float32(1e-6))
			}
		}},
		{"a read behind the end", "bytes at 40 of an allocation of 40", func(d *Device) func() error {
			x, y := filled(d, blas.F32, 10), d.Alloc("y", blas.BF16, 12)
			return func() error { return d.launch("cast_bf16_f32", d.flat(11), y, x, blas.Tensor{}, int64(11), 11, 1) }
		}},
		{"freed memory", "memory that was freed", func(d *Device) func() error {
			x, y := filled(d, blas.F32, 8), d.Alloc("y", blas.F32, 8)
			d.wait(func() {})
			p := x.Mem().(*memory).p
			d.Free(x)
			d.wait(func() {})
			return func() error { return d.launch("ema_f32", d.flat(8), y, p, int64(8), float32(0.5), float32(0.5)) }
		}},
		{"too little shared memory", "of 64 bytes of shared memory", func(d *Device) func() error {
			y, x := d.Alloc("y", blas.F32, 1), filled(d, blas.F32, 99)
			return func() error {
				return d.launch("sum_squares", shape{grid: [3]int{1}, block: 1024, shared: 64}, y, x, int64(99))
			}
		}},
		{"two rows put in one place", "race on global memory: two writes", func(d *Device) func() error {
			all, some, index := d.Alloc("all", blas.F32, 4, 32), filled(d, blas.F32, 2, 32), d.Alloc("index", blas.I32, 2) // both 0
			return func() error { return d.launch("scatter_rows", rowsOf(2), all, some, index, 2, 128) }
		}},
		{"a vector at an odd address", "misaligned", func(d *Device) func() error {
			x := filled(d, blas.F32, 9)
			return func() error {
				return d.launch("ema_f32", d.flat(2), x.Mem().(*memory).p+2, x, int64(1), float32(0.5), float32(0.5))
			}
		}},
		{"no tensor where one must be", "at address 0x0", func(d *Device) func() error {
			x := filled(d, blas.F32, 4)
			return func() error {
				return d.launch("ema_f32", d.flat(4), blas.Tensor{}, x, int64(4), float32(0.5), float32(0.5))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			emulator.Use(t)
			d, err := New()
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			d.op("test", c.run(d))
			err = d.Sync()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, got %v", c.want, err)
			}
			if again := d.Sync(); err != nil && again == nil {
				t.Error("the device recovered from what no GPU recovers from")
			}
		})
	}
}

// With MVP_CUDA_SYNC=1 the error names the operation that caused it, without, one that came later may find it.
func TestErrorsNameTheOperation(t *testing.T) {
	for _, sync := range []string{"0", "1"} {
		t.Setenv("MVP_CUDA_SYNC", sync)
		emulator.Use(t)
		d, err := New()
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		all, some, index := d.Alloc("all", blas.F32, 4, 32), filled(d, blas.F32, 2, 32), d.Alloc("index", blas.I32, 2)
		d.ScatterRows(blas.ScatterRows{Dst: all, Src: some, Index: index}) // both rows to one place
		d.Zero(some)
		err = d.Sync()
		want := map[string]string{"0": "MVP_CUDA_SYNC=1", "1": "scatter rows: cuStreamSynchronize failed"}[sync]
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "kernel scatter_rows") || strings.Contains(err.Error(), "\n") {
			t.Errorf("MVP_CUDA_SYNC=%s gave %v", sync, err)
		}
		if got := d.Download(make([]byte, some.Bytes()), some); got == nil {
			t.Error("a download from a lost device succeeded")
		}
	}
}

// Where cuBLASLt has no fused epilogue, own kernels follow the product: the results agree as two roundings of one number do.
func TestEpiloguesThatCuBLASLtDeclines(t *testing.T) {
	run := func(t *testing.T, declined int) [][]float64 {
		d, gpu := emulated(t)
		gpu.Decline(declined)
		a, b, bias := filled(d, blas.BF16, 40, 24), filled(d, blas.BF16, 48, 24), filled(d, blas.F32, 48)
		c, aux, sum, dw := d.Alloc("c", blas.BF16, 40, 48), d.Alloc("aux", blas.BF16, 40, 48), d.Alloc("sum", blas.F32, 40), d.Alloc("dw", blas.F32, 40, 48)
		grad := d.Alloc("grad", blas.BF16, 40, 48)
		d.Gemm(blas.Gemm{C: c, A: a, B: b, TransB: true, Epilogue: blas.AddBiasGELU, Bias: bias, Aux: aux})
		d.Gemm(blas.Gemm{C: grad, A: a, B: b, TransB: true, Epilogue: blas.GELUGrad, Aux: aux})
		at := filled(d, blas.BF16, 24, 40)
		d.Gemm(blas.Gemm{C: dw, A: at, B: b, TransA: true, TransB: true, Accumulate: true, ColSum: sum})
		var out [][]float64
		residual, added, y := filled(d, blas.F32, 40, 48), d.Alloc("added", blas.F32, 40, 48), d.Alloc("y", blas.BF16, 40, 48)
		keep, mean, rstd := d.Alloc("keep", blas.F32, 4), d.Alloc("mean", blas.F32, 40), d.Alloc("rstd", blas.F32, 40)
		blas.Set(d, keep, []float64{1.25, 0, 1.25, 0})
		d.Gemm(blas.Gemm{C: added, A: a, B: b, TransB: true, Epilogue: blas.AddResidual, Bias: bias, Residual: residual, Keep: keep, RowsPer: 10,
			Norm: blas.LayerNorm{Y: y, Mean: mean, Rstd: rstd, X: added, Weight: bias, Bias: bias, Eps: 1e-6}})
		for _, x := range []blas.Tensor{c, aux, grad, dw, sum, added, y} {
			v, err := blas.Get(d, x)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
		for _, x := range []blas.Tensor{a, b, bias, c, aux, sum, dw, grad, at, residual, added, y, keep, mean, rstd} {
			d.Free(x)
		}
		return out
	}
	var want [][]float64
	for _, declined := range []int{0, 4, 164, 192, 512} { // none, BIAS, GELU_AUX_BIAS, DGELU, BGRADB
		t.Run(fmt.Sprint(declined), func(t *testing.T) {
			got := run(t, declined)
			if declined == 0 {
				want = got
			}
			for i, w := range want {
				for k := range w {
					if math.Abs(got[i][k]-w[k]) > 0.02*math.Max(1, math.Abs(w[k])) {
						t.Fatalf("output %d has %g at %d, with the epilogue %g", i, got[i][k], k, w[k])
					}
				}
			}
		})
	}
}

// Uploads larger than both staging halves, and many small ones behind them, arrive whole and in order.
func TestUploadsBeyondTheStagingHalves(t *testing.T) {
	d, gpu := emulated(t)
	const n = 35 << 20
	host := make([]int32, n)
	for i := range host {
		host[i] = int32(i) * 7
	}
	x := d.Alloc("large", blas.I32, n)
	d.Upload(x, blas.Bytes(host))
	for i := range 1000 {
		d.Upload(x.Slice(i, i+1), blas.Bytes([]int32{int32(-i)}))
	}
	got := make([]int32, n)
	if err := d.Download(blas.Bytes(got), x); err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if want := host[i]; i < 1000 && v != int32(-i) || i >= 1000 && v != want {
			t.Fatalf("element %d is %d", i, v)
		}
	}
	if gpu.Count("cuEventSynchronize") == 0 {
		t.Error("140 MB went through halves of 64 MB without a wait")
	}
	d.Free(x)
}

// A device that cannot be opened says in one line what is missing, where it was looked for and what to do, and leaves nothing behind.
func TestWhatIsMissing(t *testing.T) {
	for env, want := range map[string][]string{
		"MVP_CUDA":     {"NVIDIA's driver", "--device cpu"},
		"MVP_CUBLASLT": {"cuBLASLt", "make deps-cuda"},
		"MVP_NVRTC":    {"NVRTC", "make deps-cuda"},
	} {
		gpu := emulator.Use(t)
		t.Setenv(env, "/nowhere/lib.so")
		_, err := New()
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%s: %v", env, err)
		}
		for _, w := range append(want, env, "/nowhere/lib.so") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("no %q in %q", w, err)
			}
		}
		if n := gpu.Left(); n != 0 {
			t.Errorf("%d things are left after %v", n, err)
		}
	}
}

// Whatever call fails at the start, the error names it and all is given back.
func TestEveryCallOfTheStartMayFail(t *testing.T) {
	gpu := emulator.Use(t)
	t.Cleanup(gpu.Reset)
	for _, c := range []struct {
		call      string
		nth, code int
	}{{"cuDeviceGetCount", 1, 100}, {"cuDevicePrimaryCtxRetain", 1, 2}, {"cuStreamCreate", 2, 2}, {"cuMemHostAlloc", 1, 2}, {"cuMemHostAlloc", 3, 2},
		{"cuMemAllocAsync", 1, 2}, {"cuMemAllocAsync", 3, 2}, {"cuEventCreate", 4, 2}, {"cuModuleLoadData", 2, 200}, {"cuModuleGetFunction", 20, 500}} {
		gpu.Reset()
		gpu.Fail(c.call, c.nth, c.code)
		_, err := New()
		name, _, _ := strings.Cut(c.call, "_")
		if err == nil || !strings.Contains(err.Error(), name+" ") {
			t.Errorf("%s, call %d: %v", c.call, c.nth, err)
		}
		if n := gpu.Left(); n != 0 {
			t.Errorf("%s, call %d: %d things are left", c.call, c.nth, n)
		}
	}
}

// Each variable and a GPU without memory pools: programs, products and memory give the same results.
func TestOptions(t *testing.T) {
	run := func(t *testing.T, env string, pools bool) []float64 {
		if name, value, ok := strings.Cut(env, "="); ok {
			t.Setenv(name, value)
		}
		gpu := emulator.Use(t)
		if !pools {
			gpu.NoPools()
		}
		d, err := New()
		if err != nil {
			t.Fatal(err)
		}
		a, b, c, sum := filled(d, blas.F32, 24, 8), filled(d, blas.F32, 24, 16), d.Alloc("c", blas.F32, 8, 16), d.Alloc("sum", blas.F32, 8)
		p := d.Record("test", func() {
			d.Gemm(blas.Gemm{C: c, A: a, B: b, TransA: true, Accumulate: true, ColSum: sum})
		})
		for range 4 {
			p.Run()
		}
		got, err := blas.Get(d, c)
		if err != nil {
			t.Fatal(err)
		}
		sums, err := blas.Get(d, sum)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []blas.Tensor{a, b, c, sum} {
			d.Free(x)
		}
		if graphs := gpu.Count("cuGraphLaunch"); (graphs == 3) != (env != "MVP_CUDA_GRAPH=off" && env != "MVP_CUDA_SYNC=1") {
			t.Errorf("%d graphs were launched", graphs)
		}
		if err := d.Close(); err != nil || gpu.Left() != 0 {
			t.Errorf("%v, %d things are left", err, gpu.Left())
		}
		return append(got, sums...)
	}
	var want []float64
	for _, env := range []string{"", "MVP_CUDA_GRAPH=off", "MVP_CUDA_SYNC=1", "MVP_CUDA_SEARCH=1", "MVP_CUDA_TF32=1", "no pools"} {
		t.Run(env, func(t *testing.T) {
			got := run(t, env, env != "no pools")
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Error("the result is another")
			}
		})
	}
}

func TestDeviceNumbers(t *testing.T) {
	emulator.Use(t)
	for number, want := range map[string]string{"7": "no GPU 7", "x": "no device number"} {
		t.Setenv("MVP_CUDA_DEVICE", number)
		if _, err := New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("MVP_CUDA_DEVICE=%s gives %v", number, err)
		}
	}
	gpus, driver, err := List()
	if err != nil || len(gpus) != 1 || gpus[0].Capability != 90 || !strings.Contains(driver, "13.0") || len(Libraries()) != 2 {
		t.Errorf("List gives %v, %q, %v", gpus, driver, err)
	}
}
