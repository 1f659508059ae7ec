// Number formats, vector math and the small matrix product that all kernels of one instruction set share.
#pragma GCC optimize("O3", "no-math-errno", "no-trapping-math")
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>
#include "kernels.h"

enum { F32, BF16, F64, F16 }; // as blas.DType
enum { LANES = VECTOR_BYTES / 4 };
typedef float vec __attribute__((vector_size(VECTOR_BYTES), aligned(4)));

static inline uint32_t bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline float number(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }

static inline uint16_t to_bf16(float x) { // nearest even; a NaN stays one
  uint32_t b = bits(x), r = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
  return x != x ? (b >> 16) | 0x40 : r;
}

static inline float from_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
  float normal = number((mag << 13) + (112u << 23)), small = (float)(int)mag * 0x1p-24f;
  float x = mag >= 0x7c00 ? number(0x7f800000 | mag << 13) : mag < 0x400 ? small : normal;
  return number(bits(x) | sign);
}

// load and save move elements between a tensor of type t and float32.
static inline __attribute__((always_inline)) void load(float *dst, const void *src, int64_t at, int64_t n, int t) {
  if (t == F32) memcpy(dst, (const float *)src + at, n * 4);
  else if (t == BF16) for (int64_t i = 0; i < n; i++) dst[i] = number((uint32_t)((const uint16_t *)src)[at + i] << 16);
  else for (int64_t i = 0; i < n; i++) dst[i] = from_f16(((const uint16_t *)src)[at + i]);
}

static inline __attribute__((always_inline)) void save(void *dst, int64_t at, const float *src, int64_t n, int t) {
  if (t == F32) memcpy((float *)dst + at, src, n * 4);
  else for (int64_t i = 0; i < n; i++) ((uint16_t *)dst)[at + i] = to_bf16(src[i]);
}

static inline int64_t size_of(int64_t t) { return t == F32 ? 4 : 2; }

// exponential is e^x within 2 units in the last place, 0 below -87, infinity above 88.7: range reduction by ln 2 in two
// parts and a polynomial of degree 6. NaN passes.
static inline float exponential(float x) {
  float c = x < -104 ? -104 : x > 89 ? 89 : x;
  float k = (c * 1.44269504f + 12582912.f) - 12582912.f, r = (c - k * 0.693359375f) + k * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f; y = y * r + 8.3334519073e-3f; y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f; y = y * r + 5.0000001201e-1f; y = y * r * r + r + 1;
  int i = (int)(k == k ? k : 0), half = i / 2;
  return y * number((uint32_t)(half + 127) << 23) * number((uint32_t)(i - half + 127) << 23);
}

// normal_cdf is Phi(x) by Abramowitz and Stegun 7.1.26 (error 1.5e-7); e is exp(-x²/2).
static inline float normal_cdf(float x, float e) {
  float t = 1 / (1 + 0.3275911f * 0.70710678f * fabsf(x));
  float q = 0.5f * e * t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  return x < 0 ? q : 1 - q;
}
static inline float gelu(float x) { return x * normal_cdf(x, exponential(-0.5f * x * x)); }
static inline float gelu_grad(float x) {
  float e = exponential(-0.5f * x * x);
  return normal_cdf(x, e) + x * e * 0.39894228f;
}

// root is the square root of each lane. gcc keeps sqrtf's errno whatever the pragma above says, and so vectorizes no loop that calls it.
static inline vec root(vec x) {
#if VECTOR_BYTES == 64
  return (vec)_mm512_sqrt_ps((__m512)x);
#elif VECTOR_BYTES == 32
  return (vec)_mm256_sqrt_ps((__m256)x);
#else
  return (vec)_mm_sqrt_ps((__m128)x);
#endif
}

static inline float dot(const float *a, const float *b, int64_t n) {
  float s = 0;
#pragma omp simd reduction(+ : s)
  for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
  return s;
}

static inline void *scratch(int64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64); }
