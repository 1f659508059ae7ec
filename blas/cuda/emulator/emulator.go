// Package emulator builds and steers an emulated GPU for tests: shared libraries with the names and entry points of libcuda,
// libcublasLt and libnvrtc that run the device's own kernels, compiled by g++, on the processor. Everything above the driver is the
// product's code, unchanged. It shows that kernels and launches are right; it says nothing of speed, and the PTX of ptx.cuh is
// replaced by C++ here.
package emulator

/*
#include <stdlib.h>
typedef long (*count_fn)(const char *);
typedef void (*fail_fn)(const char *, long, int);
typedef size_t (*size_fn)(size_t);
typedef long (*left_fn)(void);
typedef void (*reset_fn)(void);
typedef void (*decline_fn)(int);
typedef const char *(*finish_fn)(void);
static long call_count(void *f, const char *s) { return ((count_fn)f)(s); }
static void call_fail(void *f, const char *s, long n, int e) { ((fail_fn)f)(s, n, e); }
static size_t call_size(void *f, size_t n) { return ((size_fn)f)(n); }
static long call_left(void *f) { return ((left_fn)f)(); }
static void call_reset(void *f) { ((reset_fn)f)(); }
static const char *call_finish(void *f) { return ((finish_fn)f)(); }
static void call_decline(void *f, int e) { ((decline_fn)f)(e); }
*/
import "C"

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"
	"unsafe"

	"mvptargets/blas/cuda/kernels"
	"mvptargets/internal/dynlib"
)

// Device steers the emulated device of this process. One test at a time uses it.
type Device struct {
	count, fail, capacity, room, pending, finish, pools, left, reset, decline unsafe.Pointer
}

// Use builds the libraries, unless this very source was built before, points the environment at them, and resets the device's counts
// and faults. Without g++ the test is skipped.
func Use(t testing.TB) *Device {
	t.Helper()
	if _, err := exec.LookPath("g++"); err != nil {
		t.Skip("the emulated device is built with g++, which is not there")
	}
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"MVP_CUDA", "MVP_CUBLASLT", "MVP_NVRTC"} {
		t.Setenv(env, dir)
	}
	t.Setenv("MVP_CUDA_CACHE", filepath.Join(dir, "cache"))
	d, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.Reset()
	return d
}

func open(dir string) (*Device, error) {
	lib, err := dynlib.Spec{Name: "emulated libcuda", Sonames: []string{filepath.Join(dir, "libcuda.so.1")}}.Open()
	if err != nil {
		return nil, err
	}
	lt, err := dynlib.Spec{Name: "emulated cuBLASLt", Sonames: []string{filepath.Join(dir, "libcublasLt.so.13")}}.Open()
	if err != nil {
		return nil, err
	}
	d := &Device{}
	if err := lib.Syms(map[string]*unsafe.Pointer{"emulator_count": &d.count, "emulator_fail": &d.fail, "emulator_capacity": &d.capacity, "emulator_room": &d.room,
		"emulator_pending": &d.pending, "emulator_finish": &d.finish, "emulator_pools": &d.pools,
		"emulator_left": &d.left, "emulator_reset": &d.reset}); err != nil {
		return nil, err
	}
	return d, lt.Syms(map[string]*unsafe.Pointer{"emulator_decline": &d.decline})
}

// Count is how often an entry point was called since Reset.
func (d *Device) Count(call string) int {
	s := C.CString(call)
	defer C.free(unsafe.Pointer(s))
	return int(C.call_count(d.count, s))
}

// Fail makes the nth next call of an entry point fail with a CUDA error number; 700 to 899 lose the device for good.
func (d *Device) Fail(call string, nth, code int) {
	s := C.CString(call)
	defer C.free(unsafe.Pointer(s))
	C.call_fail(d.fail, s, C.long(nth), C.int(code))
}

// Drop makes the nth next call of an entry point succeed without doing anything, as if the product had left it out.
func (d *Device) Drop(call string, nth int) { d.Fail(call, nth, -1) }

// Pending counts the operations that were issued and that nobody has waited for yet.
func (d *Device) Pending() int { return int(C.call_left(d.pending)) }

// Finish does what is still pending, which shows races that no wait came across, and says what went wrong on the device, or "".
func (d *Device) Finish() string { return C.GoString(C.call_finish(d.finish)) }

// Capacity sets the device's memory in bytes, if that is not 0, and returns it.
func (d *Device) Capacity(bytes int) int { return int(C.call_size(d.capacity, C.size_t(bytes))) }

// Room is the device's free memory in bytes.
func (d *Device) Room() int { return int(C.call_left(d.room)) }

// Decline lets cuBLASLt's heuristic find nothing for an epilogue; 0 ends that.
func (d *Device) Decline(epilogue int) { C.call_decline(d.decline, C.int(epilogue)) }

// NoPools takes cuMemAllocAsync away, as some virtual GPUs do.
func (d *Device) NoPools() { C.call_decline(d.pools, 0) }

// Left counts what was made and not destroyed: memory, streams, events, modules, graphs, contexts.
func (d *Device) Left() int { return int(C.call_left(d.left)) }

// Reset clears counts, faults and the device's error.
func (d *Device) Reset() {
	C.call_reset(d.reset)
	d.Decline(0)
}

// build compiles the libraries into a folder named by the hash of their sources, in the temporary folder.
func build() (string, error) {
	sources := map[string]string{}
	_, here, _, _ := runtime.Caller(0)
	for name, pattern := range map[string]string{"emulator/device/": "device/*", "": "../driver.h"} {
		paths, err := filepath.Glob(filepath.Join(filepath.Dir(here), pattern))
		if err != nil || len(paths) == 0 {
			return "", fmt.Errorf("the emulated device's sources are not in %s: %v", filepath.Dir(here), err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			sources[name+filepath.Base(path)] = string(b)
		}
	}
	for _, group := range []map[string]string{kernels.Sources, kernels.Headers} {
		for name, text := range group {
			sources["emulator/device/kernels/"+name] = text
		}
	}
	for _, name := range kernels.Names() {
		sources["emulator/device/"+strings.TrimSuffix(name, ".cu")+"_kernels.cpp"] = registry(name)
	}
	sources["emulator/device/sources.h"] = sourceTable()
	names := make([]string, 0, len(sources))
	for name := range sources {
		names = append(names, name)
	}
	sort.Strings(names)
	h := sha256.New()
	h.Write([]byte(compile + link))
	for _, name := range names {
		fmt.Fprintln(h, name, len(sources[name]), sources[name])
	}
	final := filepath.Join(os.TempDir(), "mvp-emulated-gpu-"+hex.EncodeToString(h.Sum(nil))[:16])
	libs := filepath.Join(final, "emulator", "device")
	if exists(libs) {
		return libs, nil
	}
	work, err := os.MkdirTemp("", ".mvp-emulated-gpu-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	for _, name := range names {
		path := filepath.Join(work, "source", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(sources[name]), 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.Command("sh", "-e", "-c", compile+link)
	cmd.Dir = filepath.Join(work, "source", "emulator", "device")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the emulated device: %w\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(work, "source"), final); err != nil && !exists(final) {
		return "", err
	}
	return libs, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// The soname is not libcuda's: whoever looks for a real driver by that name must not be given this one because it is loaded already.
// The kernels are compiled with calls before each access (memory.cpp answers them), everything else without. Two compilers at a time.
const (
	compile = `
printf '%s\n' *_kernels.cpp | xargs -P 2 -I{} g++ -std=c++17 -O1 -fPIC -DEMULATED -fsanitize=thread --param tsan-instrument-func-entry-exit=0 \
	-Wall -Wno-unknown-pragmas -I. -Ikernels -c {} -o {}.o
printf '%s\n' block.cpp memory.cpp libcuda.cpp | xargs -P 2 -I{} g++ -std=c++17 -O2 -fPIC -Wall -c {} -o {}.o
`
	link = `
g++ -shared -o libcuda.so.1 -Wl,-soname,libmvp-emulated-cuda.so *.o
ln -s libcuda.so.1 libmvp-emulated-cuda.so
g++ -std=c++17 -O2 -fPIC -Wall -shared -o libcublasLt.so.13 cublaslt.cpp libcuda.so.1 -Wl,-rpath,'$ORIGIN'
g++ -std=c++17 -O2 -fPIC -Wall -shared -o libnvrtc.so.13 nvrtc.cpp
rm -f *.o
`
)

// registry is the C++ file that compiles one file of kernels and makes them known by name.
func registry(file string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#include <utility>\n#include \"kernels/%s\"\n", file)
	for _, name := range kernelsOf(file) {
		fmt.Fprintf(&b, "static emulated::Register known_%s(\"%s\", %s);\n", name, name, name)
	}
	return b.String()
}

func kernelsOf(file string) (names []string) {
	for _, k := range kernels.List {
		if k.File == file {
			names = append(names, k.Name)
		}
	}
	sort.Strings(names)
	return names
}

// sourceTable is the C++ table of the texts that went into the build, for the emulated NVRTC.
func sourceTable() string {
	var b strings.Builder
	b.WriteString("struct Source { std::string text, kernels; };\nstatic const std::map<std::string, Source> &emulated_sources() {\n\tstatic const std::map<std::string, Source> all = {\n")
	for _, group := range []map[string]string{kernels.Sources, kernels.Headers} {
		names := make([]string, 0, len(group))
		for name := range group {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			fmt.Fprintf(&b, "\t\t{%q, {R\"source(%s)source\", \"%s\"}},\n", name, group[name], strings.Join(kernelsOf(name), " "))
		}
	}
	b.WriteString("\t};\n\treturn all;\n}\n")
	return b.String()
}
