package cpu

// #include <stdlib.h>
// #include "onednn.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"mvptargets/blas"
	"mvptargets/internal/dynlib"
)

var dnnSpec = dynlib.Spec{Name: "oneDNN", Sonames: []string{"libdnnl.so.3"}, Env: "MVP_ONEDNN",
	Globs: []string{"onednn/lib/libdnnl.so.3"}, Remedy: "run `make deps`"}

// oneDNN holds the library and one primitive per kind of product. It belongs to the worker thread.
type oneDNN struct {
	path, version  string
	api            *C.dnn_api // C memory: the library is called from C
	omp            *C.openmp  // its threads, C memory; nil where it does not compute on GNU OpenMP's
	engine, stream unsafe.Pointer
	threads        int // that there are
	products       map[productKey]*C.dnn_product
	bf16           bool // whether it has products of bfloat16 on this processor
}

// productKey is all that a primitive depends on.
type productKey struct {
	m, n, k           int
	transA, transB    bool
	operands, result  blas.DType
	bias, accumulated bool
}

// spinVariables are the variables by which a user tells GNU OpenMP how long its threads look for work before they sleep. Its default, 3 ms, is
// for cores that nobody else uses; this count takes about as long as team.c's.
var spinVariables = []string{"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}

const spinCount = "4000"

// openDNN opens the library, for so many threads; the calling thread is to be the one that computes.
func openDNN(threads int) (*oneDNN, error) {
	if os.Getenv(dnnSpec.Env) == "off" {
		return nil, errors.New("MVP_ONEDNN is off")
	}
	if !slices.ContainsFunc(spinVariables, func(name string) bool { return os.Getenv(name) != "" }) {
		os.Setenv(spinVariables[0], spinCount) // read when the library is loaded
	}
	lib, err := dnnSpec.Open()
	if err != nil {
		return nil, err
	}
	api := (*C.dnn_api)(C.calloc(1, C.sizeof_dnn_api))
	err = lib.Syms(map[string]*unsafe.Pointer{
		"dnnl_version":                         (*unsafe.Pointer)(unsafe.Pointer(&api.version)),
		"dnnl_engine_create":                   (*unsafe.Pointer)(unsafe.Pointer(&api.engine_create)),
		"dnnl_engine_destroy":                  (*unsafe.Pointer)(unsafe.Pointer(&api.engine_destroy)),
		"dnnl_stream_create":                   (*unsafe.Pointer)(unsafe.Pointer(&api.stream_create)),
		"dnnl_stream_destroy":                  (*unsafe.Pointer)(unsafe.Pointer(&api.stream_destroy)),
		"dnnl_stream_wait":                     (*unsafe.Pointer)(unsafe.Pointer(&api.stream_wait)),
		"dnnl_memory_desc_create_with_strides": (*unsafe.Pointer)(unsafe.Pointer(&api.desc_create)),
		"dnnl_memory_desc_destroy":             (*unsafe.Pointer)(unsafe.Pointer(&api.desc_destroy)),
		"dnnl_memory_create":                   (*unsafe.Pointer)(unsafe.Pointer(&api.memory_create)),
		"dnnl_memory_set_data_handle":          (*unsafe.Pointer)(unsafe.Pointer(&api.memory_set)),
		"dnnl_memory_destroy":                  (*unsafe.Pointer)(unsafe.Pointer(&api.memory_destroy)),
		"dnnl_primitive_attr_create":           (*unsafe.Pointer)(unsafe.Pointer(&api.attr_create)),
		"dnnl_primitive_attr_set_post_ops":     (*unsafe.Pointer)(unsafe.Pointer(&api.attr_set_post_ops)),
		"dnnl_primitive_attr_destroy":          (*unsafe.Pointer)(unsafe.Pointer(&api.attr_destroy)),
		"dnnl_post_ops_create":                 (*unsafe.Pointer)(unsafe.Pointer(&api.post_ops_create)),
		"dnnl_post_ops_append_sum":             (*unsafe.Pointer)(unsafe.Pointer(&api.post_ops_sum)),
		"dnnl_post_ops_destroy":                (*unsafe.Pointer)(unsafe.Pointer(&api.post_ops_destroy)),
		"dnnl_matmul_primitive_desc_create":    (*unsafe.Pointer)(unsafe.Pointer(&api.matmul)),
		"dnnl_primitive_create":                (*unsafe.Pointer)(unsafe.Pointer(&api.primitive_create)),
		"dnnl_primitive_execute":               (*unsafe.Pointer)(unsafe.Pointer(&api.primitive_execute)),
		"dnnl_primitive_destroy":               (*unsafe.Pointer)(unsafe.Pointer(&api.primitive_destroy)),
		"dnnl_primitive_desc_destroy":          (*unsafe.Pointer)(unsafe.Pointer(&api.primitive_desc_destroy)),
	})
	if err != nil {
		C.free(unsafe.Pointer(api))
		return nil, err
	}
	o := &oneDNN{path: lib.Path(), api: api, threads: threads, omp: openMP(lib), products: map[productKey]*C.dnn_product{}}
	if o.omp != nil {
		o.threads = int(C.dnn_threads(o.omp, C.int(threads)))
	}
	v := C.dnn_version_of(api)
	o.version = fmt.Sprintf("onednn %d.%d.%d", v.major, v.minor, v.patch)
	if e := C.dnn_open(api, &o.engine, &o.stream); e != 0 {
		return nil, fmt.Errorf("open %s: %s failed with status %d", o.path, o.version, e)
	}
	_, err = o.product(productKey{m: 1, n: 1, k: 1, operands: blas.BF16, result: blas.F32})
	o.bf16 = err == nil
	return o, nil
}

// openMP is the library's OpenMP, nil where it computes on other threads.
func openMP(lib *dynlib.Lib) *C.openmp {
	omp := (*C.openmp)(C.calloc(1, C.sizeof_openmp))
	if lib.Syms(map[string]*unsafe.Pointer{
		"GOMP_parallel":       (*unsafe.Pointer)(unsafe.Pointer(&omp.parallel)),
		"omp_get_thread_num":  (*unsafe.Pointer)(unsafe.Pointer(&omp.number)),
		"omp_get_num_threads": (*unsafe.Pointer)(unsafe.Pointer(&omp.count)),
		"omp_set_num_threads": (*unsafe.Pointer)(unsafe.Pointer(&omp.set_threads)),
		"omp_set_dynamic":     (*unsafe.Pointer)(unsafe.Pointer(&omp.set_dynamic)),
	}) != nil {
		C.free(unsafe.Pointer(omp))
		return nil
	}
	return omp
}

// matmul is c (+)= op(A)·op(B), plus the bias if g has one; c is of type t.
func (o *oneDNN) matmul(g blas.Gemm, c unsafe.Pointer, t blas.DType, accumulate bool) error {
	m, n, k := g.Dims()
	key := productKey{m, n, k, g.TransA, g.TransB, g.A.DType(), t, g.Bias.Ok(), accumulate}
	p, err := o.product(key)
	if err != nil {
		return err
	}
	if e := C.dnn_run(o.api, o.stream, p, address(g.A), address(g.B), address(g.Bias), c); e != 0 {
		return fmt.Errorf("%s failed with status %d", o.version, e)
	}
	return nil
}

// product is the primitive for a kind of product, made when it is first asked for.
func (o *oneDNN) product(key productKey) (*C.dnn_product, error) {
	if p := o.products[key]; p != nil {
		return p, nil
	}
	p := (*C.dnn_product)(C.calloc(1, C.sizeof_dnn_product))
	if e := C.dnn_make(o.api, o.engine, p, C.int64_t(key.m), C.int64_t(key.n), C.int64_t(key.k), C.int(flag(key.transA)), C.int(flag(key.transB)),
		dnnType(key.operands), dnnType(key.result), C.int(flag(key.bias)), C.int(flag(key.accumulated))); e != 0 {
		C.free(unsafe.Pointer(p))
		return nil, fmt.Errorf("%s has no product for %+v: status %d", o.version, key, e)
	}
	o.products[key] = p
	return p, nil
}

// dnnType is oneDNN's number for a type.
func dnnType(t blas.DType) C.int {
	if t == blas.BF16 {
		return 2
	}
	return 3
}

func (o *oneDNN) close() {
	for _, p := range o.products {
		C.dnn_free(o.api, p)
		C.free(unsafe.Pointer(p))
	}
	C.dnn_close(o.api, o.engine, o.stream)
	C.free(unsafe.Pointer(o.api))
	C.free(unsafe.Pointer(o.omp))
}
