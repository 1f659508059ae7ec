package cuda

// #include <string.h>
// #include "api.h"
//
// static cublasStatus_t matmul(const cublaslt_api *api, cublasLtHandle_t h, cublasLtMatmulDesc_t desc, CUdeviceptr a, cublasLtMatrixLayout_t la,
//                              CUdeviceptr b, cublasLtMatrixLayout_t lb, float beta, CUdeviceptr c, CUdeviceptr d, cublasLtMatrixLayout_t ld,
//                              CUdeviceptr scales, const cublasLtMatmulAlgo_t *algo, CUdeviceptr workspace, size_t bytes, CUstream s) {
//	float here[2] = {1, beta}, *by = scales ? (float *)scales : here;
//	return api->cublasLtMatmul(h, desc, by, (void *)a, la, (void *)b, lb, by + 1, (void *)c, ld, (void *)d, ld, algo, (void *)workspace, bytes, s);
// }
// static cublasStatus_t set_pointer(const cublaslt_api *api, cublasLtMatmulDesc_t desc, unsigned attribute, CUdeviceptr p) {
//	void *value = (void *)p;
//	return api->cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value);
// }
// static cublasStatus_t set_int(const cublaslt_api *api, cublasLtMatmulDesc_t desc, unsigned attribute, int32_t value) {
//	return api->cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value);
// }
// static cublasStatus_t set_long(const cublaslt_api *api, cublasLtMatmulDesc_t desc, unsigned attribute, int64_t value) {
//	return api->cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value);
// }
// static cublasStatus_t prefer_bytes(const cublaslt_api *api, cublasLtMatmulPreference_t p, unsigned attribute, uint64_t value) {
//	return api->cublasLtMatmulPreferenceSetAttribute(p, attribute, &value, sizeof value);
// }
// static cublasStatus_t prefer_alignment(const cublaslt_api *api, cublasLtMatmulPreference_t p, unsigned attribute, uint32_t value) {
//	return api->cublasLtMatmulPreferenceSetAttribute(p, attribute, &value, sizeof value);
// }
import "C"

import (
	"fmt"
	"time"

	"mvptargets/blas"
)

// problem is one product as cuBLASLt computes it: c = epilogue(op(A)·op(B) + add).
type problem struct {
	g    blas.Gemm   // its operands, shapes and transpositions
	c    blas.Tensor // result
	add  blas.Tensor // of c's type: c itself to accumulate, a residual; absent: nothing
	bias blas.Tensor // [n], float32; absent: none
	aux  blas.Tensor // of GELU
	sums blas.Tensor // [m], of BGRADB

	scales C.CUdeviceptr // two floats that the product and add are multiplied by; 0: both by 1
}

// products holds cuBLASLt's handle and one product per kind, with its descriptors and the algorithm that was chosen for it.
type products struct {
	d         *Device
	handle    C.cublasLtHandle_t
	workspace C.CUdeviceptr
	known     map[productKey]*product
}

// workspaceBytes is what NVIDIA recommends for Hopper.
const workspaceBytes = 32 << 20

// productKey is all that descriptors and algorithm depend on.
type productKey struct {
	m, n, k         int
	transA, transB  bool
	operands, out   blas.DType
	epilogue        int
	add, scaled     bool
	a, b, c, result int // alignments of the pointers in bytes, at most 256
	vector, aux     int // of bias or bias gradient and of GELU's buffer; the heuristic looks at those pointers too
}

// places are the addresses of A, B, what is added, the result, and the scales, if there are any.
type places [5]C.CUdeviceptr

// product is ready to run; algo is meaningless where there is none.
type product struct {
	desc    C.cublasLtMatmulDesc_t
	a, b, c C.cublasLtMatrixLayout_t
	algo    C.cublasLtMatmulAlgo_t
	none    bool
}

func (d *Device) newProducts() (*products, error) {
	l := &products{d: d, known: map[productKey]*product{}}
	if err := l.check(C.call_cublasLtCreate(d.libs.lt, &l.handle), "cublasLtCreate"); err != nil {
		return l, err
	}
	var err error
	l.workspace, err = d.scratch("cuBLASLt", workspaceBytes)
	return l, err
}

func (l *products) check(status C.cublasStatus_t, call string) error {
	if status == C.CUBLAS_STATUS_SUCCESS {
		return nil
	}
	return fmt.Errorf("%s failed: %s (status %d)", call, C.GoString(C.lt_text(l.d.libs.lt, status)), uint(status))
}

// alignment is the largest power of two, at most 256, that divides an address.
func alignment(p C.CUdeviceptr) int {
	for a := 256; a > 1; a /= 2 {
		if p%C.CUdeviceptr(a) == 0 {
			return a
		}
	}
	return 1
}

// tryMultiply runs a product; false: cuBLASLt has no algorithm for it with this epilogue, and nothing was done.
//
// cuBLASLt thinks by columns. A row-major matrix is the transpose of a column-major one, so it is asked for Cᵀ = op(B)ᵀ·op(A)ᵀ: the
// operands change places, nothing is copied, and its bias along rows is ours along columns.
func (d *Device) tryMultiply(p problem, epilogue int) (bool, error) {
	l, g := d.lt, p.g
	if p.bias.Ok() && epilogue == C.CUBLASLT_EPILOGUE_DEFAULT {
		epilogue = C.CUBLASLT_EPILOGUE_BIAS
	}
	at := places{4: p.scales}
	for i, t := range []blas.Tensor{g.A, g.B, p.add, p.c} {
		var err error
		if at[i], err = address(t); err != nil {
			return false, err
		}
	}
	key := productKey{transA: g.TransA, transB: g.TransB, operands: g.A.DType(), out: p.c.DType(), epilogue: epilogue, add: p.add.Ok(), scaled: p.scales != 0,
		a: alignment(at[0]), b: alignment(at[1]), c: alignment(at[2]), result: alignment(at[3])}
	if !key.add {
		at[2], key.c = at[3], key.result // not read
	}
	key.m, key.n, key.k = g.Dims()
	vector, aux, err := l.vectors(p, key)
	if err != nil {
		return false, err
	}
	key.vector, key.aux = alignment(vector), alignment(aux)
	r := l.known[key]
	if r == nil {
		if r, err = l.describe(key, vector, aux); err != nil {
			return false, err
		}
		if err = l.choose(r, key, at); err != nil {
			return false, err
		}
		l.known[key] = r
	}
	if r.none {
		return false, nil
	}
	if err := l.point(r, key, vector, aux); err != nil {
		return false, err
	}
	return true, l.run(r, &r.algo, key, at)
}

// vectors gives the addresses of bias or bias gradient, the bias in the result's type where that is not float32, and of aux.
func (l *products) vectors(p problem, key productKey) (vector, aux C.CUdeviceptr, err error) {
	d := l.d
	if aux, err = address(p.aux); err != nil {
		return 0, 0, err
	}
	if p.sums.Ok() {
		vector, err = address(p.sums)
		return vector, aux, err
	}
	if !p.bias.Ok() {
		return 0, aux, nil
	}
	if vector, err = address(p.bias); err != nil || key.out == blas.F32 && vector%16 == 0 {
		return vector, aux, err
	}
	if vector, err = d.scratch("a bias", key.out.Size()*key.n); err != nil {
		return 0, 0, err
	}
	return vector, aux, d.launch("cast_"+key.out.String()+"_f32", d.flat(key.n), vector, p.bias, blas.Tensor{}, int64(key.n), key.n, 1)
}

// point sets the vectors' addresses, which change from call to call.
func (l *products) point(r *product, key productKey, vector, aux C.CUdeviceptr) error {
	if vector != 0 {
		if err := l.check(C.set_pointer(l.d.libs.lt, r.desc, C.CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector), "cublasLtMatmulDescSetAttribute(bias)"); err != nil {
			return err
		}
	}
	if aux == 0 {
		return nil
	}
	return l.check(C.set_pointer(l.d.libs.lt, r.desc, C.CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux), "cublasLtMatmulDescSetAttribute(aux)")
}

func (l *products) run(r *product, algo *C.cublasLtMatmulAlgo_t, key productKey, at places) error {
	beta := C.float(0)
	if key.add {
		beta = 1
	}
	return l.check(C.matmul(l.d.libs.lt, l.handle, r.desc, at[1], r.b, at[0], r.a, beta, at[2], at[3], r.c, at[4], algo, l.workspace, workspaceBytes, l.d.compute),
		"cublasLtMatmul")
}

// describe builds a product's descriptors.
func (l *products) describe(key productKey, vector, aux C.CUdeviceptr) (*product, error) {
	api, r := l.d.libs.lt, &product{}
	compute := C.cublasComputeType_t(C.CUBLAS_COMPUTE_32F)
	if key.operands == blas.F32 && l.d.options.tf32 {
		compute = C.CUBLAS_COMPUTE_32F_FAST_TF32
	}
	if err := l.check(C.call_cublasLtMatmulDescCreate(api, &r.desc, compute, C.CUDA_R_32F), "cublasLtMatmulDescCreate"); err != nil {
		return nil, err
	}
	scalars := C.CUBLASLT_POINTER_MODE_HOST
	if key.scaled {
		scalars = C.CUBLASLT_POINTER_MODE_DEVICE
	}
	for _, a := range []struct {
		attribute, value int
	}{{C.CUBLASLT_MATMUL_DESC_TRANSA, transposed(key.transB)}, {C.CUBLASLT_MATMUL_DESC_TRANSB, transposed(key.transA)}, {C.CUBLASLT_MATMUL_DESC_EPILOGUE, key.epilogue},
		{C.CUBLASLT_MATMUL_DESC_POINTER_MODE, scalars}} {
		if err := l.check(C.set_int(api, r.desc, C.uint(a.attribute), C.int32_t(a.value)), "cublasLtMatmulDescSetAttribute"); err != nil {
			return nil, err
		}
	}
	if aux != 0 {
		if err := l.check(C.set_long(api, r.desc, C.CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, C.int64_t(key.n)), "cublasLtMatmulDescSetAttribute(aux ld)"); err != nil {
			return nil, err
		}
	}
	if err := l.point(r, key, vector, aux); err != nil {
		return nil, err
	}
	aRows, aCols, bRows, bCols := key.m, key.k, key.k, key.n
	if key.transA {
		aRows, aCols = aCols, aRows
	}
	if key.transB {
		bRows, bCols = bCols, bRows
	}
	for _, x := range []struct {
		to         *C.cublasLtMatrixLayout_t
		t          blas.DType
		rows, cols int // row-major
	}{{&r.a, key.operands, aRows, aCols}, {&r.b, key.operands, bRows, bCols}, {&r.c, key.out, key.m, key.n}} {
		if err := l.check(C.call_cublasLtMatrixLayoutCreate(api, x.to, dataType(x.t), C.uint64_t(x.cols), C.uint64_t(x.rows), C.int64_t(x.cols)),
			"cublasLtMatrixLayoutCreate"); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func transposed(t bool) int {
	if t {
		return C.CUBLAS_OP_T
	}
	return C.CUBLAS_OP_N
}

func dataType(t blas.DType) C.cudaDataType {
	if t == blas.BF16 {
		return C.CUDA_R_16BF
	}
	return C.CUDA_R_32F
}

// choose takes the heuristic's first algorithm, or with MVP_CUDA_SEARCH the fastest of its first eight.
func (l *products) choose(r *product, key productKey, at places) error {
	api := l.d.libs.lt
	preference, err := l.preference(key)
	if err != nil {
		return err
	}
	defer C.call_cublasLtMatmulPreferenceDestroy(api, preference)
	var results [8]C.cublasLtMatmulHeuristicResult_t
	asked, found := C.int(1), C.int(0)
	if l.d.options.search && !l.d.capturing {
		asked = C.int(len(results))
	}
	status := C.call_cublasLtMatmulAlgoGetHeuristic(api, l.handle, r.desc, r.b, r.a, r.c, r.c, preference, asked, &results[0], &found)
	if status == C.CUBLAS_STATUS_NOT_SUPPORTED || status == C.CUBLAS_STATUS_SUCCESS && found == 0 {
		r.none = true
		return nil
	}
	if err := l.check(status, "cublasLtMatmulAlgoGetHeuristic"); err != nil {
		return err
	}
	r.algo = results[0].algo
	if asked == 1 {
		return nil
	}
	return l.fastest(r, key, at, results[:found])
}

// preference says how much workspace there is and how the operands are aligned.
func (l *products) preference(key productKey) (p C.cublasLtMatmulPreference_t, err error) {
	api := l.d.libs.lt
	if err := l.check(C.call_cublasLtMatmulPreferenceCreate(api, &p), "cublasLtMatmulPreferenceCreate"); err != nil {
		return nil, err
	}
	if err := l.check(C.prefer_bytes(api, p, C.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspaceBytes), "cublasLtMatmulPreferenceSetAttribute"); err != nil {
		return nil, err
	}
	for i, a := range []int{key.b, key.a, key.c, key.result} {
		if err := l.check(C.prefer_alignment(api, p, C.uint(C.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES+i), C.uint32_t(a)),
			"cublasLtMatmulPreferenceSetAttribute"); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// fastest times candidates, each three times after a first, with the result going to scratch memory.
func (l *products) fastest(r *product, key productKey, at places, candidates []C.cublasLtMatmulHeuristicResult_t) error {
	d := l.d
	out, err := d.reserve(key.out.Size()*key.m*key.n, "timing products")
	if err != nil {
		return err
	}
	at[3] = out
	if !key.add {
		at[2] = out
	}
	best := time.Duration(1<<63 - 1)
	for i := range candidates {
		if candidates[i].state != C.CUBLAS_STATUS_SUCCESS {
			continue
		}
		var start time.Time
		for n := range 4 {
			if n == 1 {
				start = time.Now()
			}
			if err := l.run(r, &candidates[i].algo, key, at); err != nil {
				return err
			}
			if n == 0 || n == 3 {
				if err := d.check(C.call_cuStreamSynchronize(d.libs.cuda, d.compute), "cuStreamSynchronize"); err != nil {
					return err
				}
			}
		}
		if took := time.Since(start); took < best {
			best, r.algo = took, candidates[i].algo
		}
	}
	return d.giveBack(out)
}

func (l *products) close() {
	api := l.d.libs.lt
	for _, r := range l.known {
		for _, x := range []C.cublasLtMatrixLayout_t{r.a, r.b, r.c} {
			C.call_cublasLtMatrixLayoutDestroy(api, x)
		}
		C.call_cublasLtMatmulDescDestroy(api, r.desc)
	}
	if l.handle != nil {
		C.call_cublasLtDestroy(api, l.handle)
	}
}

// misfit sets an attribute with a wrong size, for the tests: what cuBLASLt then says.
func (l *products) misfit() error {
	r, err := l.describe(productKey{m: 8, n: 8, k: 8, operands: blas.F32, out: blas.F32, epilogue: C.CUBLASLT_EPILOGUE_DEFAULT}, 0, 0)
	if err != nil {
		return err
	}
	return l.check(C.set_int(l.d.libs.lt, r.desc, C.CUBLASLT_MATMUL_DESC_BIAS_POINTER, 1), "cublasLtMatmulDescSetAttribute")
}
