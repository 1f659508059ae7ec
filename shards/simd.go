package shards

/*
#cgo CFLAGS: -O2
#include <stdint.h>

#ifdef __x86_64__
#include <immintrin.h>

static int have_f16c(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"); }

// dst[i] is q[i]·scale rounded to float16, eight at a time; n is a multiple of 8.
__attribute__((target("avx2,f16c"))) static void dequantize8(uint16_t *dst, const int8_t *q, int64_t n, float scale) {
	const __m256 s = _mm256_set1_ps(scale);
	for (int64_t i = 0; i < n; i += 8) {
		__m256 x = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(q + i))));
		_mm_storeu_si128((__m128i *)(dst + i), _mm256_cvtps_ph(_mm256_mul_ps(x, s), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
	}
}

// Rounds n floats to float16, n a multiple of 8, and says whether all results are finite.
__attribute__((target("avx2,f16c"))) static int f16_8(uint16_t *dst, const float *src, int64_t n) {
	const __m128i exponent = _mm_set1_epi16(0x7c00);
	__m128i bad = _mm_setzero_si128();
	for (int64_t i = 0; i < n; i += 8) {
		__m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
		_mm_storeu_si128((__m128i *)(dst + i), h);
		bad = _mm_or_si128(bad, _mm_cmpeq_epi16(_mm_and_si128(h, exponent), exponent));
	}
	return _mm_testz_si128(bad, bad);
}

// The greatest magnitude of n numbers, n a multiple of 8; NaN if one is.
__attribute__((target("avx2,f16c"))) static float most8(const float *x, int64_t n) {
	const __m256 sign = _mm256_set1_ps(-0.0f);
	__m256 most = _mm256_setzero_ps(), nan = _mm256_setzero_ps();
	for (int64_t i = 0; i < n; i += 8) {
		__m256 v = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i));
		most = _mm256_max_ps(most, v);
		nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
	}
	if (_mm256_movemask_ps(nan)) return __builtin_nanf("");
	float lane[8], m = 0;
	_mm256_storeu_ps(lane, most);
	for (int i = 0; i < 8; i++) m = lane[i] > m ? lane[i] : m;
	return m;
}

// q is x/scale rounded, within ±127; sums are those of q², q·x and x².
__attribute__((target("avx2,f16c"))) static void quantize8(int8_t *q, const float *x, int64_t n, float scale, double *sums) {
	const __m256 s = _mm256_set1_ps(scale), top = _mm256_set1_ps(127), bottom = _mm256_set1_ps(-127);
	__m256d qq = _mm256_setzero_pd(), qx = qq, xx = qq;
	for (int64_t i = 0; i < n; i += 8) {
		__m256 v = _mm256_loadu_ps(x + i);
		__m256 r = _mm256_round_ps(_mm256_div_ps(v, s), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
		r = _mm256_max_ps(bottom, _mm256_min_ps(top, r));
		__m256i w = _mm256_cvtps_epi32(r);
		__m128i h = _mm_packs_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
		_mm_storel_epi64((__m128i *)(q + i), _mm_packs_epi16(h, h));
		for (int k = 0; k < 2; k++) {
			__m256d a = _mm256_cvtps_pd(k ? _mm256_extractf128_ps(r, 1) : _mm256_castps256_ps128(r));
			__m256d b = _mm256_cvtps_pd(k ? _mm256_extractf128_ps(v, 1) : _mm256_castps256_ps128(v));
			qq = _mm256_add_pd(qq, _mm256_mul_pd(a, a));
			qx = _mm256_add_pd(qx, _mm256_mul_pd(a, b));
			xx = _mm256_add_pd(xx, _mm256_mul_pd(b, b));
		}
	}
	double lane[4];
	__m256d all[3] = {qq, qx, xx};
	for (int k = 0; k < 3; k++) {
		_mm256_storeu_pd(lane, all[k]);
		sums[k] = lane[0] + lane[1] + lane[2] + lane[3];
	}
}
#else
static float most8(const float *x, int64_t n) { return 0; }
static void quantize8(int8_t *q, const float *x, int64_t n, float scale, double *sums) {}
static int have_f16c(void) { return 0; }
static void dequantize8(uint16_t *dst, const int8_t *q, int64_t n, float scale) {}
static int f16_8(uint16_t *dst, const float *src, int64_t n) { return 0; }
#endif

static void dequantize(uint16_t *dst, const int8_t *q, const float *scale, int64_t patches, int64_t dim) {
	for (int64_t p = 0; p < patches; p++) dequantize8(dst + p * dim, q + p * dim, dim, scale[p]);
}
*/
import "C"

import (
	"math"
	"unsafe"
)

var haveF16C = C.have_f16c() != 0

// dequantize fills dst with float16 bits from q [P, D] and scale [P].
func dequantize(dst []uint16, q []int8, scale []float32) {
	if len(q) == 0 {
		return
	}
	dim := len(q) / len(scale)
	if !haveF16C || dim%8 != 0 {
		dequantizePlain(dst, q, scale)
		return
	}
	C.dequantize((*C.uint16_t)(unsafe.Pointer(&dst[:len(q)][0])), (*C.int8_t)(unsafe.Pointer(&q[0])), (*C.float)(unsafe.Pointer(&scale[0])),
		C.int64_t(len(scale)), C.int64_t(dim))
}

// quantize is quantizePlain eight numbers at a time; only its sums are added in another order.
func quantize(q []int8, x []float32) (scale float32, cosine float64) {
	n := len(x)
	if !haveF16C || n == 0 || n%8 != 0 {
		return quantizePlain(q, x)
	}
	px := (*C.float)(unsafe.Pointer(&x[0]))
	most := float32(C.most8(px, C.int64_t(n)))
	scale = most / 127
	if scale == 0 || !(most <= math.MaxFloat32) {
		clear(q)
		return scale, 1
	}
	var sums [3]C.double
	C.quantize8((*C.int8_t)(unsafe.Pointer(&q[:n][0])), px, C.int64_t(n), C.float(scale), &sums[0])
	return scale, float64(sums[1]) / math.Sqrt(float64(sums[0]*sums[2]))
}

// F16FromF32 rounds src to float16 (nearest, ties to even, subnormals kept) and says whether all of the results are finite.
func F16FromF32(dst []uint16, src []float32) bool {
	n := len(src) &^ 7
	finite := true
	if haveF16C && n > 0 {
		finite = C.f16_8((*C.uint16_t)(unsafe.Pointer(&dst[:n][0])), (*C.float)(unsafe.Pointer(&src[0])), C.int64_t(n)) != 0
	} else {
		n = 0
	}
	return f16Plain(dst[n:], src[n:]) && finite
}
