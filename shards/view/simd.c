// The passes of resize.go in vectors. A weight of 22 bits is upper·2^11 + lower, so that the products of two taps fit the processor's 16-bit
// multiply-add, and both sums are exact. parts holds, for each position and pair of taps, their upper parts, then their lower ones; an
// odd last tap has a partner that weighs nothing.
#include "simd.h"

#include <string.h>

enum { PRECISION_BITS = 22, LOWER_BITS = 11, HALF = 1 << (PRECISION_BITS - 1) };

#ifdef __x86_64__
#include <immintrin.h>

#define FOR_AVX2 __attribute__((target("avx2")))
#define FOR_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

int simd_level(void) {
	if (!__builtin_cpu_supports("avx2")) return PLAIN;
	return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
		__builtin_cpu_supports("avx512vnni") ? AVX512 : AVX2;
}

static inline int32_t upper_of(const int16_t *pair) {
	int32_t v;
	memcpy(&v, pair, 4);
	return v;
}

static inline int32_t lower_of(const int16_t *pair) { return upper_of(pair + 2); }

// Bytes of the pixels p[0] to p[3] as numbers of 16 bits: (r r g g b b 0 0) of the first two, and of the last two.
#define FIRST_TWO 0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1
#define LAST_TWO 6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1

static inline void store_pixel(uint8_t *out, uint32_t rgbx, int last) {
	if (last) out[0] = rgbx, out[1] = rgbx >> 8, out[2] = rgbx >> 16;
	else memcpy(out, &rgbx, 4); // the fourth byte is of the next pixel, which comes after
}

// Two rows in each vector.
FOR_AVX2 static void rows_avx2(uint8_t *out, const uint8_t *in, int64_t stride, int64_t rows, int64_t n, const int64_t *first, const int64_t *count,
		const int16_t *parts, int64_t pairs) {
	const __m256i two[2] = {_mm256_setr_epi8(FIRST_TWO, FIRST_TWO), _mm256_setr_epi8(LAST_TWO, LAST_TWO)};
	for (int64_t y = 0; y < rows; y += 4) {
		// The last group repeats rows instead of running over the end.
		int64_t y1 = y + 1 < rows ? y + 1 : y, y2 = y + 2 < rows ? y + 2 : y, y3 = y + 3 < rows ? y + 3 : y;
		for (int64_t i = 0; i < n; i++) {
			const uint8_t *p = in + 3 * first[i], *p0 = p + y * stride, *p1 = p + y1 * stride, *p2 = p + y2 * stride, *p3 = p + y3 * stride;
			const int16_t *w = parts + 4 * pairs * i;
			__m256i ua = _mm256_setzero_si256(), ub = ua, la = _mm256_set1_epi32(HALF), lb = la;
			for (int64_t k = 0; k < count[i]; k += 4, w += 8) {
				__m256i a = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(p0 + 3 * k))), _mm_loadu_si128((const __m128i *)(p1 + 3 * k)), 1);
				__m256i b = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(p2 + 3 * k))), _mm_loadu_si128((const __m128i *)(p3 + 3 * k)), 1);
#pragma GCC unroll 2
				for (int j = 0; j < 2; j++) {
					__m256i upper = _mm256_set1_epi32(upper_of(w + 4 * j)), lower = _mm256_set1_epi32(lower_of(w + 4 * j));
					__m256i pa = _mm256_shuffle_epi8(a, two[j]), pb = _mm256_shuffle_epi8(b, two[j]);
					ua = _mm256_add_epi32(ua, _mm256_madd_epi16(pa, upper)), la = _mm256_add_epi32(la, _mm256_madd_epi16(pa, lower));
					ub = _mm256_add_epi32(ub, _mm256_madd_epi16(pb, upper)), lb = _mm256_add_epi32(lb, _mm256_madd_epi16(pb, lower));
				}
			}
			__m256i a = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(ua, LOWER_BITS), la), PRECISION_BITS);
			__m256i b = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(ub, LOWER_BITS), lb), PRECISION_BITS);
			a = _mm256_packs_epi32(a, b);
			a = _mm256_packus_epi16(a, a);
			uint64_t even = _mm_cvtsi128_si64(_mm256_castsi256_si128(a)), odd = _mm_cvtsi128_si64(_mm256_extracti128_si256(a, 1));
			uint8_t *o = out + 3 * i;
			int last = i + 1 == n;
			store_pixel(o + 3 * y * n, even, last);
			store_pixel(o + 3 * y1 * n, odd, last);
			store_pixel(o + 3 * y2 * n, even >> 32, last);
			store_pixel(o + 3 * y3 * n, odd >> 32, last);
		}
	}
}

FOR_AVX512 static inline __m512i four_rows(const uint8_t *p0, const uint8_t *p1, const uint8_t *p2, const uint8_t *p3) {
	__m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p0));
	v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)p1), 1);
	v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)p2), 2);
	return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)p3), 3);
}

// Numbers of 32 bits as bytes, from 0 to 255.
FOR_AVX512 static inline __m128i clipped(__m512i upper, __m512i lower) {
	__m512i v = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(upper, LOWER_BITS), lower), PRECISION_BITS);
	return _mm512_cvtusepi32_epi8(_mm512_max_epi32(v, _mm512_setzero_si512()));
}

// rows_avx2 with four rows in a vector.
FOR_AVX512 static void rows_avx512(uint8_t *out, const uint8_t *in, int64_t stride, int64_t rows, int64_t n, const int64_t *first, const int64_t *count,
		const int16_t *parts, int64_t pairs) {
	const __m512i two[2] = {_mm512_broadcast_i32x4(_mm_setr_epi8(FIRST_TWO)), _mm512_broadcast_i32x4(_mm_setr_epi8(LAST_TWO))};
	for (int64_t y = 0; y < rows; y += 4) {
		int64_t y1 = y + 1 < rows ? y + 1 : y, y2 = y + 2 < rows ? y + 2 : y, y3 = y + 3 < rows ? y + 3 : y;
		for (int64_t i = 0; i < n; i++) {
			const uint8_t *p = in + 3 * first[i], *p0 = p + y * stride, *p1 = p + y1 * stride, *p2 = p + y2 * stride, *p3 = p + y3 * stride;
			const int16_t *w = parts + 4 * pairs * i;
			__m512i upper = _mm512_setzero_si512(), lower = _mm512_set1_epi32(HALF);
			for (int64_t k = 0; k < count[i]; k += 4, w += 8) {
				__m512i px = four_rows(p0 + 3 * k, p1 + 3 * k, p2 + 3 * k, p3 + 3 * k);
#pragma GCC unroll 2
				for (int j = 0; j < 2; j++) {
					__m512i v = _mm512_shuffle_epi8(px, two[j]);
					upper = _mm512_dpwssd_epi32(upper, v, _mm512_set1_epi32(upper_of(w + 4 * j)));
					lower = _mm512_dpwssd_epi32(lower, v, _mm512_set1_epi32(lower_of(w + 4 * j)));
				}
			}
			__m128i v = clipped(upper, lower);
			uint64_t low = _mm_cvtsi128_si64(v), high = _mm_extract_epi64(v, 1);
			uint8_t *o = out + 3 * i;
			int last = i + 1 == n;
			store_pixel(o + 3 * y * n, low, last);
			store_pixel(o + 3 * y1 * n, low >> 32, last);
			store_pixel(o + 3 * y2 * n, high, last);
			store_pixel(o + 3 * y3 * n, high >> 32, last);
		}
	}
}

// resizeColumn from the byte from on: out[i] of in[k*n + i].
static void column_plain(uint8_t *out, const uint8_t *in, int64_t n, const int16_t *parts, int64_t count, int64_t from) {
	for (int64_t i = from; i < n; i++) {
		int32_t v = HALF;
		for (int64_t k = 0; k < count; k++) {
			const int16_t *w = parts + 4 * (k / 2) + k % 2;
			v += in[k * n + i] * (w[0] * (1 << LOWER_BITS) + w[2]);
		}
		v >>= PRECISION_BITS;
		out[i] = v < 0 ? 0 : v > 255 ? 255 : v;
	}
}

FOR_AVX2 static void column_avx2(uint8_t *out, const uint8_t *in, int64_t n, const int16_t *parts, int64_t count) {
	const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(HALF);
	int64_t i = 0;
	while (n - i >= 32) {
		__m256i upper[4] = {zero, zero, zero, zero}, lower[4] = {half, half, half, half};
		const int16_t *w = parts;
		for (int64_t k = 0; k < count; k += 2, w += 4) {
			const uint8_t *p = in + k * n + i, *q = k + 1 < count ? p + n : p;
			__m256i u = _mm256_set1_epi32(upper_of(w)), l = _mm256_set1_epi32(lower_of(w));
			__m256i a = _mm256_loadu_si256((const __m256i *)p), b = _mm256_loadu_si256((const __m256i *)q);
			__m256i ab = _mm256_unpacklo_epi8(a, b), cd = _mm256_unpackhi_epi8(a, b);
			__m256i v[4] = {_mm256_unpacklo_epi8(ab, zero), _mm256_unpackhi_epi8(ab, zero), _mm256_unpacklo_epi8(cd, zero), _mm256_unpackhi_epi8(cd, zero)};
#pragma GCC unroll 4
			for (int j = 0; j < 4; j++) {
				upper[j] = _mm256_add_epi32(upper[j], _mm256_madd_epi16(v[j], u));
				lower[j] = _mm256_add_epi32(lower[j], _mm256_madd_epi16(v[j], l));
			}
		}
#pragma GCC unroll 4
		for (int j = 0; j < 4; j++) upper[j] = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(upper[j], LOWER_BITS), lower[j]), PRECISION_BITS);
		__m256i v = _mm256_packus_epi16(_mm256_packs_epi32(upper[0], upper[1]), _mm256_packs_epi32(upper[2], upper[3]));
		_mm256_storeu_si256((__m256i *)(out + i), v);
		i += 32;
		if (i < n && n - i < 32) i = n - 32; // the last ones overlap
	}
	column_plain(out, in, n, parts, count, i);
}

FOR_AVX512 static void column_avx512(uint8_t *out, const uint8_t *in, int64_t n, const int16_t *parts, int64_t count) {
	const __m512i zero = _mm512_setzero_si512(), half = _mm512_set1_epi32(HALF);
	int64_t i = 0;
	while (n - i >= 64) {
		__m512i upper[4] = {zero, zero, zero, zero}, lower[4] = {half, half, half, half};
		const int16_t *w = parts;
		for (int64_t k = 0; k < count; k += 2, w += 4) {
			const uint8_t *p = in + k * n + i, *q = k + 1 < count ? p + n : p;
			__m512i u = _mm512_set1_epi32(upper_of(w)), l = _mm512_set1_epi32(lower_of(w));
			__m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(q);
			__m512i ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpackhi_epi8(a, b);
			__m512i v[4] = {_mm512_unpacklo_epi8(ab, zero), _mm512_unpackhi_epi8(ab, zero), _mm512_unpacklo_epi8(cd, zero), _mm512_unpackhi_epi8(cd, zero)};
#pragma GCC unroll 4
			for (int j = 0; j < 4; j++) upper[j] = _mm512_dpwssd_epi32(upper[j], v[j], u), lower[j] = _mm512_dpwssd_epi32(lower[j], v[j], l);
		}
#pragma GCC unroll 4
		for (int j = 0; j < 4; j++) upper[j] = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(upper[j], LOWER_BITS), lower[j]), PRECISION_BITS);
		__m512i v = _mm512_packus_epi16(_mm512_packs_epi32(upper[0], upper[1]), _mm512_packs_epi32(upper[2], upper[3]));
		_mm512_storeu_si512(out + i, v);
		i += 64;
		if (i < n && n - i < 64) i = n - 64;
	}
	if (i < n) column_avx2(out, in, n, parts, count); // less than one vector
}

// resizeRow on rows rows. Reads up to 13 bytes beyond the last pixel of a row.
void resize_rows(int level, uint8_t *out, const uint8_t *in, int64_t stride, int64_t rows, int64_t n, const int64_t *first, const int64_t *count,
		const int16_t *parts, int64_t pairs) {
	(level == AVX512 ? rows_avx512 : rows_avx2)(out, in, stride, rows, n, first, count, parts, pairs);
}

// resizeColumn for each of the h output rows.
void resize_columns(int level, uint8_t *out, const uint8_t *in, int64_t n, int64_t h, int64_t top, const int64_t *first, const int64_t *count,
		const int16_t *parts, int64_t pairs) {
	for (int64_t y = 0; y < h; y++)
		(level == AVX512 ? column_avx512 : column_avx2)(out + y * n, in + (first[y] - top) * n, n, parts + 4 * pairs * y, count[y]);
}

#else

int simd_level(void) { return PLAIN; }
void resize_rows(int level, uint8_t *out, const uint8_t *in, int64_t stride, int64_t rows, int64_t n, const int64_t *first, const int64_t *count,
	const int16_t *parts, int64_t pairs) {}
void resize_columns(int level, uint8_t *out, const uint8_t *in, int64_t n, int64_t h, int64_t top, const int64_t *first, const int64_t *count,
	const int16_t *parts, int64_t pairs) {}

#endif
