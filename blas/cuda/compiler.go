package cuda

// #include <stdlib.h>
// #include "api.h"
import "C"

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"unsafe"

	"mvptargets/blas/cuda/kernels"
	"mvptargets/internal/atomicfile"
	"mvptargets/internal/dynlib"
)

// Compiler is NVRTC. Its methods may be called from several goroutines at once.
type Compiler struct {
	api     *C.nvrtc_api
	Path    string
	Version string // "NVRTC 13.0"
	archs   []int  // compute capabilities that it knows, such as 90, ascending
}

// OpenCompiler opens NVRTC; no GPU and no driver are needed.
func OpenCompiler() (*Compiler, error) {
	lib, err := nvrtcSpec.Open()
	if err != nil {
		return nil, err
	}
	// NVRTC opens its built-in declarations by soname, without a search path: the file beside it must be loaded before.
	for _, path := range besides(lib.Path(), "libnvrtc-builtins.so*") {
		if _, err := (dynlib.Spec{Name: "NVRTC's built-ins", Sonames: []string{path}}).Open(); err == nil {
			break
		}
	}
	c := &Compiler{api: (*C.nvrtc_api)(C.calloc(1, C.sizeof_nvrtc_api)), Path: lib.Path()}
	if err := symbols(lib, nvrtcNames(), unsafe.Pointer(c.api)); err != nil {
		return nil, err
	}
	var major, minor, n C.int
	if err := c.check(C.call_nvrtcVersion(c.api, &major, &minor), "nvrtcVersion"); err != nil {
		return nil, err
	}
	c.Version = fmt.Sprintf("NVRTC %d.%d", major, minor)
	if err := c.check(C.call_nvrtcGetNumSupportedArchs(c.api, &n), "nvrtcGetNumSupportedArchs"); err != nil {
		return nil, err
	}
	list := make([]C.int, max(n, 1))
	if err := c.check(C.call_nvrtcGetSupportedArchs(c.api, &list[0]), "nvrtcGetSupportedArchs"); err != nil {
		return nil, err
	}
	for _, a := range list[:n] {
		c.archs = append(c.archs, int(a))
	}
	sort.Ints(c.archs)
	return c, nil
}

func besides(path, pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(path), pattern))
	return found
}

func (c *Compiler) check(status C.nvrtcResult, call string) error {
	if status == C.NVRTC_SUCCESS {
		return nil
	}
	return fmt.Errorf("%s: %s failed: %s", c.Path, call, C.GoString(C.nvrtc_text(c.api, status)))
}

// target is the option that fits a device of the given compute capability: its own code where NVRTC knows the device, else PTX of the
// newest one known, which the driver compiles.
func (c *Compiler) target(capability int) (option string, ptx bool, err error) {
	if slices.Contains(c.archs, capability) {
		return fmt.Sprintf("--gpu-architecture=sm_%d", capability), false, nil
	}
	for i := len(c.archs) - 1; i >= 0; i-- {
		if c.archs[i] < capability {
			return fmt.Sprintf("--gpu-architecture=compute_%d", c.archs[i]), true, nil
		}
	}
	return "", false, fmt.Errorf("%s knows no device of compute capability %d.%d", c.Version, capability/10, capability%10)
}

// Compile translates one file of package kernels for a compute capability such as 90; the log has ptxas's figures for each kernel
// and whatever NVRTC warns of.
func (c *Compiler) Compile(file string, capability int) (image []byte, log string, err error) {
	option, ptx, err := c.target(capability)
	if err != nil {
		return nil, "", err
	}
	var names, texts []string
	for name, text := range kernels.Headers {
		names, texts = append(names, name), append(texts, text)
	}
	cnames, ctexts := cStrings(names), cStrings(texts)
	defer freeStrings(cnames)
	defer freeStrings(ctexts)
	source := cStrings([]string{kernels.Sources[file], file})
	defer freeStrings(source)
	var program C.nvrtcProgram
	if err := c.check(C.call_nvrtcCreateProgram(c.api, &program, source[0], source[1], C.int(len(names)), &ctexts[0], &cnames[0]), "nvrtcCreateProgram"); err != nil {
		return nil, "", err
	}
	defer C.call_nvrtcDestroyProgram(c.api, &program)
	options := cStrings(append(slices.Clone(compileOptions), option))
	defer freeStrings(options)
	status := C.call_nvrtcCompileProgram(c.api, program, C.int(len(options)), &options[0])
	var n C.size_t
	if err := c.check(C.call_nvrtcGetProgramLogSize(c.api, program, &n), "nvrtcGetProgramLogSize"); err != nil {
		return nil, "", err
	}
	text := make([]byte, n+1)
	if err := c.check(C.call_nvrtcGetProgramLog(c.api, program, (*C.char)(unsafe.Pointer(&text[0]))), "nvrtcGetProgramLog"); err != nil {
		return nil, "", err
	}
	log = strings.TrimRight(string(text), "\x00")
	if err := c.check(status, "nvrtcCompileProgram of "+file); err != nil {
		return nil, log, fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(log), " "))
	}
	image, err = c.image(program, ptx)
	return image, log, err
}

var compileOptions = []string{"--std=c++17", "--ptxas-options=-v"}

func (c *Compiler) image(program C.nvrtcProgram, ptx bool) ([]byte, error) {
	var n C.size_t
	size, name := C.call_nvrtcGetCUBINSize(c.api, program, &n), "nvrtcGetCUBIN"
	if ptx {
		size, name = C.call_nvrtcGetPTXSize(c.api, program, &n), "nvrtcGetPTX"
	}
	if err := c.check(size, name+"Size"); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New(c.Path + ": " + name + " gave nothing")
	}
	image := make([]byte, n)
	p := (*C.char)(unsafe.Pointer(&image[0]))
	if ptx {
		return image, c.check(C.call_nvrtcGetPTX(c.api, program, p), name)
	}
	return image, c.check(C.call_nvrtcGetCUBIN(c.api, program, p), name)
}

// cached is Compile with a copy kept on disk under the hash of all that decides the result. A cache that cannot be written costs
// the next start some seconds and is no error.
func (c *Compiler) cached(file string, capability int) ([]byte, error) {
	path := c.cachePath(file, capability)
	if path != "" {
		if image, err := os.ReadFile(path); err == nil && len(image) > 0 {
			return image, nil
		}
	}
	image, _, err := c.Compile(file, capability)
	if err != nil || path == "" {
		return image, err
	}
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		_ = atomicfile.Write(path, image, 0o644)
	}
	return image, nil
}

// cachePath is where a compiled file belongs: $MVP_CUDA_CACHE, else the user's cache folder; "" where there is none.
func (c *Compiler) cachePath(file string, capability int) string {
	dir := os.Getenv("MVP_CUDA_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(user, "mvp-targets", "cuda")
	}
	h := sha256.New()
	fmt.Fprintln(h, c.Version, capability, compileOptions, file, kernels.Sources[file])
	var headers []string
	for name := range kernels.Headers {
		headers = append(headers, name)
	}
	sort.Strings(headers)
	for _, name := range headers {
		fmt.Fprintln(h, name, kernels.Headers[name])
	}
	return filepath.Join(dir, hex.EncodeToString(h.Sum(nil))+".image")
}

func cStrings(texts []string) []*C.char {
	out := make([]*C.char, len(texts))
	for i, t := range texts {
		out[i] = C.CString(t)
	}
	return out
}

func freeStrings(texts []*C.char) {
	for _, t := range texts {
		C.free(unsafe.Pointer(t))
	}
}
