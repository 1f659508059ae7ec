package teacher

/*
#cgo CFLAGS: -O2
#include <stdint.h>

#ifdef __x86_64__
#include <immintrin.h>

static int can_normalize(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

// x / d by d's reciprocal and one correction from the remainder (Markstein 1990).
__attribute__((target("avx2,fma"))) static inline __m256 quotient(__m256 x, __m256 d, __m256 reciprocal) {
	__m256 q = _mm256_mul_ps(x, reciprocal);
	return _mm256_fmadd_ps(_mm256_fnmadd_ps(q, d, x), reciprocal, q);
}

// out [3, n] from rgb [n, 3], eight pixels at a time; gives the number of pixels done, the last few are left.
__attribute__((target("avx2,fma"))) static int64_t normalize(float *out, const uint8_t *rgb, int64_t n, const float *mean, const float *std) {
	const __m256 most = _mm256_set1_ps(255), per = _mm256_set1_ps(1.f / 255);
	int64_t i = 0;
	for (; 3 * i + 28 <= 3 * n; i += 8) { // what is read of them, 28 bytes
		__m128i a = _mm_loadu_si128((const __m128i *)(rgb + 3 * i)), b = _mm_loadu_si128((const __m128i *)(rgb + 3 * i + 12));
#pragma GCC unroll 3
		for (int c = 0; c < 3; c++) {
			const __m128i pick = _mm_setr_epi8(c, -1, -1, -1, c + 3, -1, -1, -1, c + 6, -1, -1, -1, c + 9, -1, -1, -1);
			__m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_shuffle_epi8(a, pick)), _mm_shuffle_epi8(b, pick), 1);
			__m256 x = _mm256_sub_ps(quotient(_mm256_cvtepi32_ps(v), most, per), _mm256_set1_ps(mean[c]));
			_mm256_storeu_ps(out + c * n + i, quotient(x, _mm256_set1_ps(std[c]), _mm256_set1_ps(1 / std[c])));
		}
	}
	return i;
}
#else
static int can_normalize(void) { return 0; }
static int64_t normalize(float *out, const uint8_t *rgb, int64_t n, const float *mean, const float *std) { return 0; }
#endif
*/
import "C"

import (
	"unsafe"

	"mvptargets/internal/half"
)

// SetPixels normalizes an RGB image [Size, Size, 3] into row i.
func (b *Batch) SetPixels(i int, rgb []uint8) {
	if b.s.model.Input.Elem == Float16 {
		setPixels(b.pixels.uint16s()[i*b.pixelRow:(i+1)*b.pixelRow], rgb, &b.s.halfTable, 0)
	} else {
		row := b.pixels.float32s()[i*b.pixelRow : (i+1)*b.pixelRow]
		done := 0
		if b.s.fast {
			done = normalize(row, rgb, &b.s.model.Preprocessing)
		}
		setPixels(row, rgb, &b.s.table, done)
	}
}

// normalize is setPixels in vectors; it gives the number of pixels done.
func normalize(row []float32, rgb []uint8, p *Preprocessing) int {
	plane := len(row) / 3
	return int(C.normalize((*C.float)(unsafe.Pointer(&row[0])), (*C.uint8_t)(&rgb[:3*plane][0]), C.int64_t(plane),
		(*C.float)(unsafe.Pointer(&p.Mean[0])), (*C.float)(unsafe.Pointer(&p.Std[0]))))
}

// normalizes says whether normalize gives the numbers of table for every grey level, as it does for all means and deviations that were seen.
func normalizes(p *Preprocessing, table *[3][256]float32) bool {
	if C.can_normalize() == 0 {
		return false
	}
	const levels, more = 256, 2 // that is left to setPixels
	rgb, row := make([]uint8, 3*(levels+more)), make([]float32, 3*(levels+more))
	for v := range levels {
		rgb[3*v], rgb[3*v+1], rgb[3*v+2] = uint8(v), uint8(v), uint8(v)
	}
	if normalize(row, rgb, p) < levels {
		return false
	}
	for c := range table {
		if [levels]float32(row[c*(levels+more):]) != table[c] {
			return false
		}
	}
	return true
}

// setPixels turns [H, W, 3] grey levels into [3, H, W] numbers by a table per channel, from pixel number from on.
func setPixels[T float32 | uint16](row []T, rgb []uint8, t *[3][256]T, from int) {
	plane := len(row) / 3
	red, green, blue := row[:plane], row[plane:2*plane], row[2*plane:]
	rgb = rgb[:3*plane]
	for p := from; p < plane; p++ {
		red[p], green[p], blue[p] = t[0][rgb[3*p]], t[1][rgb[3*p+1]], t[2][rgb[3*p+2]]
	}
}

// halves rounds a table to float16.
func halves(table *[3][256]float32) (h [3][256]uint16) {
	for c := range h {
		for v := range h[c] {
			h[c][v] = half.F16(table[c][v])
		}
	}
	return h
}
