package cuda

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cuda/kernels"
	"mvptargets/internal/dynlib"
)

// compiler opens the real NVRTC or skips: it needs no GPU, but 110 MB that `make deps-cuda` brings.
func compiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := OpenCompiler()
	if err != nil {
		t.Skip(err)
	}
	return c
}

var (
	usage = regexp.MustCompile(`Compiling entry function '(\w+)' for '(\w+)'|(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads|Used (\d+) registers`)
)

// TestEveryKernelCompiles compiles for A100, H100 and B200 with the real NVRTC: no warnings, every kernel in the result, nothing
// spilled. With -v it lists registers.
func TestEveryKernelCompiles(t *testing.T) {
	c := compiler(t)
	t.Log(c.Version, c.Path)
	for _, capability := range []int{80, 90, 100} {
		for _, file := range kernels.Names() {
			t.Run(fmt.Sprintf("sm_%d/%s", capability, file), func(t *testing.T) {
				t.Parallel()
				image, log, err := c.Compile(file, capability)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(log, "warning") {
					t.Errorf("warnings:\n%s", log)
				}
				found := checkFigures(t, log, capability)
				for _, k := range kernels.List {
					if k.File == file && !found[k.Name] {
						t.Errorf("%s is not in the image of %d bytes", k.Name, len(image))
					}
				}
			})
		}
	}
}

// checkFigures reads ptxas's figures of each kernel from the log.
func checkFigures(t *testing.T, log string, capability int) map[string]bool {
	found, name := map[string]bool{}, ""
	for _, m := range usage.FindAllStringSubmatch(log, -1) {
		switch {
		case m[1] != "":
			name = m[1]
			found[name] = true
		case m[3] != "":
			if m[4] != "0" || m[5] != "0" {
				t.Errorf("%s spills on sm_%d: %s bytes stored, %s loaded", name, capability, m[4], m[5])
			}
		case m[6] != "":
			t.Logf("sm_%d %-32s %s registers", capability, name, m[6])
		}
	}
	return found
}

// TestCompiledOnceOnly reads the second time from the cache, and a changed option or version gives another name.
func TestCompiledOnceOnly(t *testing.T) {
	c := compiler(t)
	t.Setenv("MVP_CUDA_CACHE", t.TempDir())
	first, err := c.cached("sums.cu", 90)
	if err != nil {
		t.Fatal(err)
	}
	path := c.cachePath("sums.cu", 90)
	if err := os.WriteFile(path, []byte("kept"), 0o644); err != nil {
		t.Fatalf("no file in the cache: %v", err)
	}
	second, err := c.cached("sums.cu", 90)
	if err != nil || string(second) != "kept" || len(first) < 1000 {
		t.Errorf("the first compilation gave %d bytes, the second %q, %v", len(first), second, err)
	}
	other := *c
	other.Version = "NVRTC 99"
	if other.cachePath("sums.cu", 90) == path || c.cachePath("sums.cu", 80) == path {
		t.Error("another version or device shares the cache's file")
	}
}

func TestUnknownDeviceGetsPTX(t *testing.T) {
	c := compiler(t)
	option, ptx, err := c.target(999)
	if err != nil || !ptx || !strings.Contains(option, "compute_") {
		t.Errorf("compute capability 99.9 gives %q, %v, %v", option, ptx, err)
	}
	if _, _, err := c.target(10); err == nil || !strings.Contains(err.Error(), "1.0") {
		t.Errorf("compute capability 1.0 gives %v", err)
	}
}

// TestDeclarations compiles driver.h together with NVIDIA's headers: every prototype, structure and constant must agree.
func TestDeclarations(t *testing.T) {
	include := func(name string) string {
		for _, d := range dynlib.DepsDirs() {
			p := filepath.Join(d, name, "include")
			if _, err := os.Stat(p); err == nil {
				return "-I" + p
			}
		}
		t.Skipf("NVIDIA's headers are not in .deps/%s: run `make deps-cuda`", name)
		return ""
	}
	out := filepath.Join(t.TempDir(), "declarations.o")
	cmd := exec.Command("gcc", "-std=c11", "-Wall", "-Werror", "-c", "-o", out, include("cuda-runtime"), include("cuda-crt"),
		include("cuda-cublas"), include("cuda-nvrtc"), "-Itestdata/include", "testdata/declarations.c")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("driver.h and NVIDIA's headers differ: %v\n%s", err, text)
	}
}

// TestSymbolsOfTheRealLibraries looks up every function in NVIDIA's own libraries; libcuda, which works beside its own kernel module
// only, is opened where there is one.
func TestSymbolsOfTheRealLibraries(t *testing.T) {
	for _, spec := range []struct {
		dynlib.Spec
		names []string
	}{{cublasltSpec, cublasltNames()}, {nvrtcSpec, nvrtcNames()}, {driverSpec, driverNames()}} {
		t.Run(spec.Name, func(t *testing.T) {
			lib, err := spec.Open()
			if err != nil {
				t.Skip(err)
			}
			for _, name := range spec.names {
				if _, err := lib.Sym(name); err != nil {
					t.Error(err)
				}
			}
			t.Logf("%d functions of %s", len(spec.names), lib.Path())
		})
	}
}

// TestSymbolsOfTheDriver reads the symbols of the libcuda that `make deps-cuda` brings, of release 535 (CUDA 12.2), without loading it:
// every function that is used is there, in that release already.
func TestSymbolsOfTheDriver(t *testing.T) {
	var paths []string
	for _, d := range dynlib.DepsDirs() {
		found, _ := filepath.Glob(filepath.Join(d, "cuda-driver", "libcuda.so.*"))
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		t.Skip("NVIDIA's libcuda is not in .deps/cuda-driver: run `make deps-cuda`")
	}
	path := paths[0]
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, s := range symbols {
		there[s.Name] = there[s.Name] || s.Section != elf.SHN_UNDEF && elf.ST_TYPE(s.Info) == elf.STT_FUNC
	}
	for _, name := range driverNames() {
		if !there[name] {
			t.Errorf("%s has no function %s", path, name)
		}
	}
	t.Logf("%d functions of %s", len(driverNames()), path)
}

// TestDescriptorsOfTheRealLibrary fills cuBLASLt's own descriptors as a product does: it checks attribute numbers and sizes, and needs
// no GPU for that. Choosing an algorithm needs one.
func TestDescriptorsOfTheRealLibrary(t *testing.T) {
	l := &products{d: &Device{libs: &libraries{}}}
	if err := l.d.libs.openProducts(); err != nil {
		t.Skip(err)
	}
	t.Log(l.d.libs.versions[1])
	for _, compute := range []blas.DType{blas.F32, blas.BF16} {
		for _, epilogue := range []int{1, 4, 164, 192, 512} {
			key := productKey{m: 64, n: 32, k: 16, transA: epilogue == 512, transB: true, scaled: epilogue == 4, operands: compute, out: compute, epilogue: epilogue,
				a: 16, b: 32, c: 256, result: 256}
			if _, err := l.describe(key, 4096, 8192); err != nil {
				t.Errorf("epilogue %d in %v: %v", epilogue, compute, err)
			}
			if _, err := l.preference(key); err != nil {
				t.Error(err)
			}
		}
	}
	// An attribute of another size is refused, so the above says something.
	if err := l.misfit(); err == nil || !strings.Contains(err.Error(), "status 7") {
		t.Errorf("a pointer attribute of 4 bytes gave %v", err)
	}
}
