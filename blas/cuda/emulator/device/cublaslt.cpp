// The entry points of libcublasLt on the emulated device: products and epilogues as plain loops, in the stream's order, with the rules of
// NVIDIA's documentation checked: types, leading dimensions, the alignment that the heuristic was told of.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "../../driver.h"

extern "C" {
void emulator_issue(CUstream s, void (*work)(void *), void *with);
int emulator_reach(const void *p, size_t n, int write, const char *what);
int emulator_range(const void *p, size_t n, char *text, size_t room);
int emulator_stream(CUstream s);
}

namespace {

constexpr cublasStatus_t INVALID_VALUE = 7, NOT_SUPPORTED = 15;
struct Layout { cudaDataType type; uint64_t rows, cols; int64_t ld; };
struct Desc { cublasComputeType_t compute; int scalars, transa, transb, epilogue; void *bias, *aux; int64_t ld_aux; };
struct Preference { uint64_t workspace; uint32_t align[4]; };
struct Algo { uint64_t magic, problem; uint32_t align[4]; uint64_t workspace; };
constexpr uint64_t MAGIC = 0x656d756c61746564;

Layout *of(cublasLtMatrixLayout_t l) { return (Layout *)l->data; }
Desc *of(cublasLtMatmulDesc_t d) { return (Desc *)d->data; }
Preference *of(cublasLtMatmulPreference_t p) { return (Preference *)p->data; }
size_t size_of(cudaDataType t) { return t == CUDA_R_16BF ? 2 : 4; }

int declined;  // epilogue that the heuristic has nothing for, to test what then happens
std::string reason = "status";

cublasStatus_t refuse(cublasStatus_t s, const std::string &why) {
	reason = "emulated cuBLASLt: " + why;
	return s;
}

float load(const void *p, size_t i, cudaDataType t) {
	if (t == CUDA_R_32F) return ((const float *)p)[i];
	uint32_t u = (uint32_t)((const uint16_t *)p)[i] << 16;
	float x;
	memcpy(&x, &u, 4);
	return x;
}
void store(void *p, size_t i, cudaDataType t, float x) {
	if (t == CUDA_R_32F) { ((float *)p)[i] = x; return; }
	uint32_t u;
	memcpy(&u, &x, 4);
	((uint16_t *)p)[i] = (u & 0x7fffffff) > 0x7f800000 ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

// cuBLASLt's GELU is the approximation by tanh.
float gelu(float x) { return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x))); }
float gelu_grad(float x) {
	float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
	return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.7978845608f * (1 + 3 * 0.044715f * x * x);
}

uint64_t hash(const Desc &d, const Layout *ls[4]) {
	uint64_t h = 14695981039346656037u;
	auto mix = [&](uint64_t v) { h = (h ^ v) * 1099511628211u; };
	mix(d.compute), mix(d.scalars), mix(d.transa), mix(d.transb), mix(d.epilogue), mix(d.ld_aux);
	for (int i = 0; i < 4; i++) mix(ls[i]->type), mix(ls[i]->rows), mix(ls[i]->cols), mix(ls[i]->ld);
	return h;
}

// rules checks what the documentation of cublasLtMatmul demands of a problem.
cublasStatus_t rules(const Desc &d, const Layout &a, const Layout &b, const Layout &c, const Layout &r) {
	if (a.type != b.type || c.type != r.type) return refuse(NOT_SUPPORTED, "types differ");
	if (a.type == CUDA_R_32F ? r.type != CUDA_R_32F : a.type != CUDA_R_16BF) return refuse(NOT_SUPPORTED, "type combination");
	if (a.type == CUDA_R_16BF && d.compute != CUBLAS_COMPUTE_32F) return refuse(NOT_SUPPORTED, "compute type");
	uint64_t m = r.rows, n = r.cols, k = d.transa ? a.rows : a.cols;
	if ((d.transa ? a.cols : a.rows) != m || (d.transb ? b.rows : b.cols) != n || (d.transb ? b.cols : b.rows) != k || c.rows != m || c.cols != n)
		return refuse(INVALID_VALUE, "shapes do not fit");
	for (const Layout *l : {&a, &b, &c, &r})
		if (l->ld < (int64_t)l->rows || !l->rows || !l->cols) return refuse(INVALID_VALUE, "leading dimension");
	if (d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || d.epilogue == CUBLASLT_EPILOGUE_DGELU) {
		if (!d.aux || d.ld_aux % 8 || d.ld_aux < (int64_t)m || (size_t)d.aux % 16) return refuse(NOT_SUPPORTED, "auxiliary buffer");
		if (r.type != CUDA_R_16BF) return refuse(NOT_SUPPORTED, "GELU in float32");
	}
	bool bias = d.epilogue == CUBLASLT_EPILOGUE_BIAS || d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || d.epilogue == CUBLASLT_EPILOGUE_BGRADB;
	if (bias && (!d.bias || (size_t)d.bias % 16)) return refuse(NOT_SUPPORTED, "bias pointer");
	if (d.epilogue == declined) return refuse(NOT_SUPPORTED, "declined for a test");
	return CUBLAS_STATUS_SUCCESS;
}

struct Work {
	Desc d;
	Layout a, b, c, r;
	const void *pa, *pb, *pc;
	void *pr;
	float alpha, beta;
	const float *scalars[2];  // on the device, in place of alpha and beta
	const void *workspace;
	size_t workspace_bytes;
};

bool reads(const void *p, size_t bytes, const char *what) { return emulator_reach(p, bytes, 0, what); }
bool writes(const void *p, size_t bytes, const char *what) { return emulator_reach(p, bytes, 1, what); }
size_t bytes_of(const Layout &l) { return ((l.cols - 1) * l.ld + l.rows) * size_of(l.type); }

// run computes D = epilogue(alpha·op(A)·op(B) + beta·C), all by columns.
void run(void *with) {
	Work w = *(Work *)with;
	const Desc &d = w.d;
	size_t m = w.r.rows, n = w.r.cols, k = d.transa ? w.a.rows : w.a.cols;
	bool bias = d.epilogue == CUBLASLT_EPILOGUE_BIAS || d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
	for (int i = 0; i < 2 && d.scalars == CUBLASLT_POINTER_MODE_DEVICE; i++) {
		if (!reads(w.scalars[i], 4, "cublasLtMatmul's scalars")) return;
		(i ? w.beta : w.alpha) = *w.scalars[i];
	}
	if (!reads(w.pa, bytes_of(w.a), "cublasLtMatmul's A") || !reads(w.pb, bytes_of(w.b), "cublasLtMatmul's B")) return;
	if (w.beta != 0 && !reads(w.pc, bytes_of(w.c), "cublasLtMatmul's C")) return;
	if (bias && !reads(d.bias, m * size_of(w.r.type), "cublasLtMatmul's bias")) return;
	if (d.epilogue == CUBLASLT_EPILOGUE_BGRADB && !writes(d.bias, n * size_of(w.r.type), "cublasLtMatmul's bias gradient")) return;
	size_t aux = ((n - 1) * d.ld_aux + m) * 2;
	if (d.epilogue == CUBLASLT_EPILOGUE_DGELU && !reads(d.aux, aux, "cublasLtMatmul's auxiliary buffer")) return;
	if (d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS && !writes(d.aux, aux, "cublasLtMatmul's auxiliary buffer")) return;
	if (!writes(w.pr, bytes_of(w.r), "cublasLtMatmul's D") || !writes(w.workspace, w.workspace_bytes, "cublasLtMatmul's workspace")) return;
	// Operands as float, k innermost.
	std::vector<float> a(m * k), b(n * k);
	for (size_t i = 0; i < m; i++)
		for (size_t l = 0; l < k; l++) a[i * k + l] = load(w.pa, d.transa ? i * w.a.ld + l : l * w.a.ld + i, w.a.type);
	for (size_t j = 0; j < n; j++)
		for (size_t l = 0; l < k; l++) b[j * k + l] = load(w.pb, d.transb ? l * w.b.ld + j : j * w.b.ld + l, w.b.type);
	for (size_t j = 0; j < n; j++) {
		float total = 0;
		for (size_t l = 0; l < k; l++) total += b[j * k + l];
		if (d.epilogue == CUBLASLT_EPILOGUE_BGRADB) store(d.bias, j, w.r.type, total);
		for (size_t i = 0; i < m; i++) {
			float x[4] = {};  // four sums, as no library sums in one chain
			for (size_t l = 0; l < k; l++) x[l % 4] += a[i * k + l] * b[j * k + l];
			float sum = w.alpha * ((x[0] + x[1]) + (x[2] + x[3]));
			if (w.beta != 0) sum += w.beta * load(w.pc, j * w.c.ld + i, w.c.type);
			if (bias) sum += load(d.bias, i, w.r.type);
			if (d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS) {
				store(d.aux, j * d.ld_aux + i, CUDA_R_16BF, sum);
				sum = gelu(sum);
			}
			if (d.epilogue == CUBLASLT_EPILOGUE_DGELU) sum *= gelu_grad(load(d.aux, j * d.ld_aux + i, CUDA_R_16BF));
			store(w.pr, j * w.r.ld + i, w.r.type, sum);
		}
	}
}

// Captured work runs many times: what it needs lives as long as the library.
Work *keep(const Work &w) { return new Work(w); }

}  // namespace

extern "C" {
void emulator_decline(int epilogue) { declined = epilogue; }
size_t cublasLtGetVersion(void) { return 0; }
const char *cublasLtGetStatusString(cublasStatus_t) { return reason.c_str(); }
cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) { *h = (cublasLtHandle_t)1; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t scale) {
	if (scale != CUDA_R_32F) return refuse(INVALID_VALUE, "scale type");
	*d = new cublasLtMatmulDescOpaque_t{};
	of(*d)->compute = compute, of(*d)->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { delete d; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void *v, size_t n) {
	Desc *d = of(desc);
	struct { void *to; size_t bytes; } to = {};
	switch (attribute) {
	case CUBLASLT_MATMUL_DESC_POINTER_MODE: to = {&d->scalars, 4}; break;
	case CUBLASLT_MATMUL_DESC_TRANSA: to = {&d->transa, 4}; break;
	case CUBLASLT_MATMUL_DESC_TRANSB: to = {&d->transb, 4}; break;
	case CUBLASLT_MATMUL_DESC_EPILOGUE: to = {&d->epilogue, 4}; break;
	case CUBLASLT_MATMUL_DESC_BIAS_POINTER: to = {&d->bias, 8}; break;
	case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: to = {&d->aux, 8}; break;
	case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: to = {&d->ld_aux, 8}; break;
	}
	if (!to.to || to.bytes != n) return refuse(INVALID_VALUE, "attribute or its size");
	memcpy(to.to, v, n);
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
	*l = new cublasLtMatrixLayoutOpaque_t{};
	*of(*l) = {type, rows, cols, ld};
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { delete l; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
	*p = new cublasLtMatmulPreferenceOpaque_t{};
	for (uint32_t &a : of(*p)->align) a = 256;
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { delete p; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute, const void *v, size_t n) {
	int i = (int)attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
	if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && n == 8) memcpy(&of(p)->workspace, v, 8);
	else if (i >= 0 && i < 4 && n == 4) memcpy(&of(p)->align[i], v, 4);
	else return refuse(INVALID_VALUE, "preference or its size");
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t p, int asked,
                                              cublasLtMatmulHeuristicResult_t *results, int *found) {
	*found = 0;
	if (asked < 1) return refuse(INVALID_VALUE, "no result asked for");
	if (cublasStatus_t s = rules(*of(desc), *of(a), *of(b), *of(c), *of(d))) return s;
	const Layout *ls[] = {of(a), of(b), of(c), of(d)};
	Algo algo = {MAGIC, hash(*of(desc), ls), {}, 1 << 16};
	memcpy(algo.align, of(p)->align, sizeof algo.align);
	*found = std::min(asked, 2);
	for (int i = 0; i < *found; i++) {
		results[i] = {};
		memcpy(&results[i].algo, &algo, sizeof algo);
		results[i].workspaceSize = algo.workspace;
	}
	if (algo.workspace > of(p)->workspace) return refuse(NOT_SUPPORTED, "workspace");
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t la, const void *b,
                              cublasLtMatrixLayout_t lb, const void *beta, const void *c, cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes, CUstream s) {
	if (!emulator_stream(s)) return refuse(INVALID_VALUE, "stream");
	if (cublasStatus_t e = rules(*of(desc), *of(la), *of(lb), *of(lc), *of(ld))) return e;
	Algo chosen;
	memcpy(&chosen, algo, sizeof chosen);
	const Layout *ls[] = {of(la), of(lb), of(lc), of(ld)};
	if (chosen.magic != MAGIC || chosen.problem != hash(*of(desc), ls)) return refuse(INVALID_VALUE, "the algorithm was chosen for another problem");
	const void *ps[] = {a, b, c, d};
	for (int i = 0; i < 4; i++)
		if ((size_t)ps[i] % chosen.align[i] || (size_t)ps[i] % size_of(ls[i]->type)) return refuse(INVALID_VALUE, "operand less aligned than the heuristic was told");
	char text[200];
	if (bytes < chosen.workspace || !emulator_range(workspace, bytes, text, sizeof text)) return refuse(INVALID_VALUE, "workspace");
	Work w = {*of(desc), *of(la), *of(lb), *of(lc), *of(ld), a, b, c, d, 0, 0, {(const float *)alpha, (const float *)beta}, workspace, bytes};
	if (w.d.scalars == CUBLASLT_POINTER_MODE_HOST) w.alpha = *w.scalars[0], w.beta = *w.scalars[1];
	emulator_issue(s, run, keep(w));
	return CUBLAS_STATUS_SUCCESS;
}
}
