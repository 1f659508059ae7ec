package cuda

// #include <stdlib.h>
// #include "api.h"
import "C"

import (
	"fmt"
	"math"
	"sync"
	"unsafe"

	"mvptargets/blas"
	"mvptargets/blas/cuda/kernels"
)

// function is a kernel on the device.
type function struct {
	kernels.Kernel
	handle C.CUfunction
	shared int // dynamic shared memory that it may have
}

// staticLimit is the shared memory that a block gets unasked.
const staticLimit = 48 << 10

// loadKernels compiles what is not cached, several files at a time, and loads all of it.
func (d *Device) loadKernels() error {
	files := kernels.Names()
	images, errs := make([][]byte, len(files)), make([]error, len(files))
	c := &Compiler{api: d.libs.rtc, Path: d.libs.paths[2], Version: d.libs.versions[2], archs: d.libs.archs}
	var all sync.WaitGroup
	for i, file := range files {
		all.Add(1)
		go func() {
			defer all.Done()
			images[i], errs[i] = c.cached(file, d.gpu.Capability)
		}()
	}
	all.Wait()
	for i, file := range files {
		if errs[i] != nil {
			return errs[i]
		}
		if err := d.load(file, images[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) load(file string, image []byte) error {
	data := C.CBytes(append(image, 0)) // PTX ends with a NUL; code does not mind one
	defer C.free(data)
	var module C.CUmodule
	if err := d.check(C.call_cuModuleLoadData(d.libs.cuda, &module, data), "cuModuleLoadData of "+file); err != nil {
		return err
	}
	d.modules = append(d.modules, module)
	for _, k := range kernels.List {
		if k.File != file {
			continue
		}
		f := &function{Kernel: k, shared: staticLimit}
		name := C.CString(k.Name)
		err := d.check(C.call_cuModuleGetFunction(d.libs.cuda, &f.handle, module, name), "cuModuleGetFunction "+k.Name)
		C.free(unsafe.Pointer(name))
		if err != nil {
			return err
		}
		d.functions[k.Name] = f
	}
	return nil
}

// grid is the blocks of a launch, block the threads of each, shared the bytes of dynamic shared memory.
type shape struct {
	grid   [3]int
	block  int
	shared int
}

// launch issues a kernel on the compute stream. Arguments are tensors (0 where absent), pointers, int, int64 and float32, in the order
// and of the kinds that the kernel's text declares; anything else is a bug.
func (d *Device) launch(kernel string, s shape, args ...any) error {
	f := d.functions[kernel]
	if f == nil || len(args) != len(f.Params) {
		panic(fmt.Sprintf("blas/cuda: kernel %s takes %v, got %d arguments", kernel, f, len(args)))
	}
	var slots [32]C.uint64_t
	for i, a := range args {
		kind, value := kernels.Int, uint64(0)
		switch v := a.(type) {
		case blas.Tensor:
			p, err := address(v)
			if err != nil {
				return err
			}
			kind, value = kernels.Pointer, uint64(p)
		case C.CUdeviceptr:
			kind, value = kernels.Pointer, uint64(v)
		case int:
			if v != int(int32(v)) {
				panic(fmt.Sprintf("blas/cuda: kernel %s: argument %d is %d, more than 32 bits hold", kernel, i, v))
			}
			value = uint64(uint32(v))
		case int64:
			kind, value = kernels.Long, uint64(v)
		case float32:
			kind, value = kernels.Float, uint64(math.Float32bits(v))
		default:
			panic(fmt.Sprintf("blas/cuda: kernel %s: argument %d is a %T", kernel, i, a))
		}
		if kind != f.Params[i] {
			panic(fmt.Sprintf("blas/cuda: kernel %s: parameter %d is a %v, got a %v", kernel, i, f.Params[i], kind))
		}
		slots[i] = C.uint64_t(value)
	}
	if s.shared > f.shared {
		if err := d.check(C.call_cuFuncSetAttribute(d.libs.cuda, f.handle, C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(s.shared)),
			fmt.Sprintf("cuFuncSetAttribute of %s to %d bytes of shared memory", kernel, s.shared)); err != nil {
			return err
		}
		f.shared = s.shared
	}
	grid := [3]C.uint{C.uint(s.grid[0]), C.uint(max(s.grid[1], 1)), C.uint(max(s.grid[2], 1))}
	return d.check(C.launch(d.libs.cuda, f.handle, &grid[0], C.uint(s.block), C.uint(s.shared), d.compute, &slots[0], C.int(len(args))),
		"cuLaunchKernel "+kernel)
}

// address is where a tensor's first element lies; 0 for the zero Tensor.
func address(t blas.Tensor) (C.CUdeviceptr, error) {
	if !t.Ok() {
		return 0, nil
	}
	m := t.Mem().(*memory)
	if m.p == 0 {
		return 0, fmt.Errorf("%s has no memory", m.name)
	}
	return m.p + C.CUdeviceptr(t.Offset()*t.DType().Size()), nil
}

// Launch shapes: a warp a row with 8 rows a block; a loop over n numbers by fours; 256 threads in all.
const threads = 256

func rowsOf(m int) shape { return shape{grid: [3]int{ceil(m, threads/32)}, block: threads} }

func (d *Device) flat(n int) shape {
	return shape{grid: [3]int{min(ceil(n, 4*threads), 16*d.gpu.Processors)}, block: threads}
}

func ceil(n, per int) int { return max(1, (n+per-1)/per) }

// room is scratch memory for one purpose. Graphs keep its address, so what is outgrown stays until the end.
type room struct {
	p    C.CUdeviceptr
	size int
	all  []C.CUdeviceptr
}

// scratch is at least n bytes for a purpose; operations of that purpose follow each other on the stream and share it.
func (d *Device) scratch(purpose string, n int) (C.CUdeviceptr, error) {
	r := d.rooms[purpose]
	if r == nil {
		r = &room{}
		d.rooms[purpose] = r
	}
	if n <= r.size {
		return r.p, nil
	}
	p, err := d.reserve(n, "scratch for "+purpose)
	if err != nil {
		return 0, err
	}
	r.p, r.size = p, n
	r.all = append(r.all, p)
	return p, nil
}
