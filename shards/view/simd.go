package view

/*
#cgo CFLAGS: -O2
#include <stdint.h>
#include <string.h>

#define PRECISION_BITS 22

#ifdef __x86_64__
#include <immintrin.h>

static int have_avx2(void) { return __builtin_cpu_supports("avx2"); }

// The pixels p[0] and p[1] times their two weights, as (r, g, b, -) twice. Reads 8 bytes.
__attribute__((target("avx2"))) static inline __m256i product(const uint8_t *p, __m256i w) {
	const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1);
	__m128i px = _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)p), spread);
	return _mm256_mullo_epi32(_mm256_cvtepu8_epi32(px), w);
}

__attribute__((target("avx2"))) static inline void store_pixel(uint8_t *out, __m256i sum) {
	__m128i v = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
	v = _mm_srai_epi32(_mm_add_epi32(v, _mm_set1_epi32(1 << (PRECISION_BITS - 1))), PRECISION_BITS);
	v = _mm_packs_epi32(v, v);
	int32_t px = _mm_cvtsi128_si32(_mm_packus_epi16(v, v));
	memcpy(out, &px, 3);
}

// resizeRow on rows rows, four at a time. Reads up to 5 bytes beyond the last pixel of a row.
__attribute__((target("avx2"))) static void resize_rows(uint8_t *out, const uint8_t *in, int64_t stride, int64_t rows, int64_t n,
		const int64_t *first, const int64_t *count, const int32_t *weight, int64_t size) {
	const __m256i pair = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
	for (int64_t y = 0; y < rows; y += 4) {
		// The last group repeats rows instead of running over the end.
		int64_t y1 = y + 1 < rows ? y + 1 : y, y2 = y + 2 < rows ? y + 2 : y, y3 = y + 3 < rows ? y + 3 : y;
		for (int64_t i = 0; i < n; i++) {
			const uint8_t *p = in + 3 * first[i], *p0 = p + y * stride, *p1 = p + y1 * stride, *p2 = p + y2 * stride, *p3 = p + y3 * stride;
			const int32_t *wt = weight + i * size;
			__m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
			int64_t k = 0;
			for (; k + 2 <= count[i]; k += 2) {
				__m256i w = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)(wt + k))), pair);
				s0 = _mm256_add_epi32(s0, product(p0 + 3 * k, w));
				s1 = _mm256_add_epi32(s1, product(p1 + 3 * k, w));
				s2 = _mm256_add_epi32(s2, product(p2 + 3 * k, w));
				s3 = _mm256_add_epi32(s3, product(p3 + 3 * k, w));
			}
			if (k < count[i]) {
				__m256i w = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(_mm_cvtsi32_si128(wt[k])), pair);
				s0 = _mm256_add_epi32(s0, product(p0 + 3 * k, w));
				s1 = _mm256_add_epi32(s1, product(p1 + 3 * k, w));
				s2 = _mm256_add_epi32(s2, product(p2 + 3 * k, w));
				s3 = _mm256_add_epi32(s3, product(p3 + 3 * k, w));
			}
			store_pixel(out + 3 * (y * n + i), s0);
			store_pixel(out + 3 * (y1 * n + i), s1);
			store_pixel(out + 3 * (y2 * n + i), s2);
			store_pixel(out + 3 * (y3 * n + i), s3);
		}
	}
}

// resizeColumn: out[i] from in[k*n + i].
__attribute__((target("avx2"))) static void resize_column(uint8_t *out, const uint8_t *in, int64_t n, const int32_t *weight, int64_t count) {
	const int32_t half = 1 << (PRECISION_BITS - 1);
	int64_t i = 0;
	for (; i + 16 <= n; i += 16) {
		__m256i a = _mm256_set1_epi32(half), b = a;
		for (int64_t k = 0; k < count; k++) {
			__m128i px = _mm_loadu_si128((const __m128i *)(in + k * n + i));
			__m256i w = _mm256_set1_epi32(weight[k]);
			a = _mm256_add_epi32(a, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(px), w));
			b = _mm256_add_epi32(b, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(px, 8)), w));
		}
		__m256i v = _mm256_packs_epi32(_mm256_srai_epi32(a, PRECISION_BITS), _mm256_srai_epi32(b, PRECISION_BITS));
		v = _mm256_permute4x64_epi64(v, 0xd8);
		_mm_storeu_si128((__m128i *)(out + i), _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
	}
	for (; i < n; i++) {
		int32_t v = half;
		for (int64_t k = 0; k < count; k++) v += in[k * n + i] * weight[k];
		v >>= PRECISION_BITS;
		out[i] = v < 0 ? 0 : v > 255 ? 255 : v;
	}
}

#else

static int have_avx2(void) { return 0; }
static void resize_rows(uint8_t *out, const uint8_t *in, int64_t stride, int64_t rows, int64_t n,
		const int64_t *first, const int64_t *count, const int32_t *weight, int64_t size) {}
static void resize_column(uint8_t *out, const uint8_t *in, int64_t n, const int32_t *weight, int64_t count) {}

#endif

// resizeColumn for each of the h output rows.
static void resize_columns(uint8_t *out, const uint8_t *in, int64_t n, int64_t h, int64_t top,
		const int64_t *first, const int64_t *count, const int32_t *weight, int64_t size) {
	for (int64_t y = 0; y < h; y++) resize_column(out + y * n, in + (first[y] - top) * n, n, weight + y * size, count[y]);
}
*/
import "C"

import "unsafe"

// simd says that the two passes run on AVX2, with the bytes of resizeRow and resizeColumn.
var simd = C.have_avx2() != 0

// overread is how far resize_rows reads beyond the last pixel of a row.
const overread = 5

// resizeRowsSIMD does as many of the rows from the top on as it may and returns their number: the rest lie too close to the end of
// the buffer. out is (rows, len(t.first), 3).
func resizeRowsSIMD(out, in []uint8, stride, rows, width int, t *taps) int {
	for rows > 0 && (rows-1)*stride+3*width+overread > len(in) {
		rows--
	}
	if rows > 0 {
		C.resize_rows((*C.uint8_t)(&out[0]), (*C.uint8_t)(&in[0]), C.int64_t(stride), C.int64_t(rows), C.int64_t(len(t.first)),
			(*C.int64_t)(unsafe.Pointer(&t.first[0])), (*C.int64_t)(unsafe.Pointer(&t.count[0])), (*C.int32_t)(&t.weight[0]), C.int64_t(t.size))
	}
	return rows
}

// resizeColumnsSIMD makes all rows of n bytes of out; in begins at source row top.
func resizeColumnsSIMD(out, in []uint8, n, top int, t *taps) {
	C.resize_columns((*C.uint8_t)(&out[0]), (*C.uint8_t)(&in[0]), C.int64_t(n), C.int64_t(len(t.first)), C.int64_t(top),
		(*C.int64_t)(unsafe.Pointer(&t.first[0])), (*C.int64_t)(unsafe.Pointer(&t.count[0])), (*C.int32_t)(&t.weight[0]), C.int64_t(t.size))
}
