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
#else
static int have_f16c(void) { return 0; }
static void dequantize8(uint16_t *dst, const int8_t *q, int64_t n, float scale) {}
static int f16_8(uint16_t *dst, const float *src, int64_t n) { return 0; }
#endif

static void dequantize(uint16_t *dst, const int8_t *q, const float *scale, int64_t patches, int64_t dim) {
	for (int64_t p = 0; p < patches; p++) dequantize8(dst + p * dim, q + p * dim, dim, scale[p]);
}
*/
import "C"

import "unsafe"

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
