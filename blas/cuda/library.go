package cuda

// #include <stdlib.h>
// #include "api.h"
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"mvptargets/internal/dynlib"
)

// Where the three libraries are looked for: the override, .deps, the nvidia-* wheels of a Python environment, a CUDA toolkit, then the
// system's folders.
var (
	driverSpec = dynlib.Spec{Name: "NVIDIA's driver", Sonames: []string{"libcuda.so.1"}, Env: "MVP_CUDA",
		Remedy: "install NVIDIA's driver, or use --device cpu"}
	cublasltSpec = dynlib.Spec{Name: "cuBLASLt", Sonames: []string{"libcublasLt.so.13", "libcublasLt.so.12"}, Env: "MVP_CUBLASLT",
		Globs: []string{"cuda-cublas/lib/libcublasLt.so.13"}, Also: toolkitGlobs("cublas", "libcublasLt.so.1[23]"),
		Remedy: "run `make deps-cuda`, or pip install nvidia-cublas"}
	nvrtcSpec = dynlib.Spec{Name: "NVRTC", Sonames: []string{"libnvrtc.so.13", "libnvrtc.so.12"}, Env: "MVP_NVRTC",
		Globs: []string{"cuda-nvrtc/lib/libnvrtc.so.13"}, Also: toolkitGlobs("cuda_nvrtc", "libnvrtc.so.1[23]"),
		Remedy: "run `make deps-cuda`, or pip install nvidia-cuda-nvrtc"}
)

// toolkitGlobs lists where Python's wheels and CUDA toolkits keep a library; wheel is the folder that a CUDA 12 wheel has for it.
func toolkitGlobs(wheel, file string) (out []string) {
	for _, env := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if d := os.Getenv(env); d != "" {
			for _, sub := range []string{"cu13", wheel} {
				out = append(out, filepath.Join(d, "lib/python3*/site-packages/nvidia", sub, "lib", file))
			}
		}
	}
	for _, env := range []string{"CUDA_HOME", "CUDA_PATH"} {
		if d := os.Getenv(env); d != "" {
			out = append(out, filepath.Join(d, "lib64", file))
		}
	}
	return append(out, filepath.Join("/usr/local/cuda/lib64", file))
}

// symbols fills a table of function pointers, which begins at table, from a library; list names
// them in the table's order.
func symbols(lib *dynlib.Lib, list []string, table unsafe.Pointer) error {
	for i, name := range list {
		p, err := lib.Sym(name)
		if err != nil {
			return err
		}
		*(*unsafe.Pointer)(unsafe.Add(table, uintptr(i)*unsafe.Sizeof(p))) = p
	}
	return nil
}

// libraries are the open libraries with their tables, which lie in C memory.
type libraries struct {
	cuda     *C.cuda_api
	lt       *C.cublaslt_api
	rtc      *C.nvrtc_api
	archs    []int     // that NVRTC knows
	paths    [3]string // of libcuda, cuBLASLt, NVRTC
	versions [3]string
}

// openDriver opens libcuda alone, which is enough to list devices.
func openDriver() (*libraries, error) {
	lib, err := driverSpec.Open()
	if err != nil {
		return nil, err
	}
	l := &libraries{cuda: (*C.cuda_api)(C.calloc(1, C.sizeof_cuda_api))}
	l.paths[0] = lib.Path()
	if err := symbols(lib, driverNames(), unsafe.Pointer(l.cuda)); err != nil {
		l.close()
		return nil, err
	}
	if err := l.check(C.call_cuInit(l.cuda, 0), "cuInit"); err != nil {
		l.close()
		return nil, fmt.Errorf("%s: %w", l.paths[0], err)
	}
	var v C.int
	if err := l.check(C.call_cuDriverGetVersion(l.cuda, &v), "cuDriverGetVersion"); err != nil {
		l.close()
		return nil, err
	}
	l.versions[0] = fmt.Sprintf("driver for CUDA %d.%d", v/1000, v%1000/10)
	return l, nil
}

// openMath opens cuBLASLt and NVRTC.
func (l *libraries) openMath() error {
	if err := l.openProducts(); err != nil {
		return err
	}
	c, err := OpenCompiler()
	if err != nil {
		return err
	}
	l.rtc, l.archs, l.paths[2], l.versions[2] = c.api, c.archs, c.Path, c.Version
	return nil
}

// openProducts opens cuBLASLt.
func (l *libraries) openProducts() error {
	lib, err := cublasltSpec.Open()
	if err != nil {
		return err
	}
	l.paths[1] = lib.Path()
	l.lt = (*C.cublaslt_api)(C.calloc(1, C.sizeof_cublaslt_api))
	if err := symbols(lib, cublasltNames(), unsafe.Pointer(l.lt)); err != nil {
		return err
	}
	v := int(C.lt_version(l.lt))
	l.versions[1] = fmt.Sprintf("cuBLASLt %d.%d.%d", v/10000, v/100%100, v%100)
	return nil
}

func (l *libraries) close() {
	C.free(unsafe.Pointer(l.cuda))
	C.free(unsafe.Pointer(l.lt))
	C.free(unsafe.Pointer(l.rtc))
}

// callError is a driver call that failed: its number decides what is done about it.
type callError struct {
	code       uint
	call, text string
}

func (e *callError) Error() string { return fmt.Sprintf("%s failed: %s", e.call, e.text) }

// check turns a driver's status into an error that names the call and the driver's own text.
func (l *libraries) check(status C.CUresult, call string) error {
	if status == C.CUDA_SUCCESS {
		return nil
	}
	var name, text *C.char
	C.call_cuGetErrorName(l.cuda, status, &name)
	C.call_cuGetErrorString(l.cuda, status, &text)
	e := &callError{code: uint(status), call: call, text: fmt.Sprintf("status %d", uint(status))}
	if name != nil && text != nil {
		e.text = fmt.Sprintf("%s (%s)", C.GoString(text), C.GoString(name))
	}
	return e
}

// The functions of each table, in its order.
func driverNames() []string   { return strings.Fields(C.GoString(C.cuda_names())) }
func cublasltNames() []string { return strings.Fields(C.GoString(C.cublaslt_names())) }
func nvrtcNames() []string    { return strings.Fields(C.GoString(C.nvrtc_names())) }
