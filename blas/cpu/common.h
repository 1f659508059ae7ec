// Number formats, vector math and the small matrix product that all kernels of one instruction set share.
#ifndef UNROLLED
#pragma GCC optimize("O3", "no-math-errno", "no-trapping-math")
#define UNROLLED _Pragma("GCC unroll 16") // a loop whose vectors stay in registers
#endif
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels.h"

enum { F32, BF16, F64, F16 }; // as blas.DType
enum { LANES = VECTOR_BYTES / 4 };
typedef float vec __attribute__((vector_size(VECTOR_BYTES), aligned(4)));
typedef uint32_t words __attribute__((vector_size(VECTOR_BYTES), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2)));

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

// widened is a vector of numbers of float32 or bfloat16 from element at on, narrowed its way back.
static inline vec widened(const void *src, int64_t at, int t) {
  if (t == F32) return *(const vec *)((const float *)src + at);
  return (vec)(__builtin_convertvector(*(const halves *)((const uint16_t *)src + at), words) << 16);
}

static inline void narrowed(void *dst, int64_t at, vec x, int t) {
  if (t == F32) { *(vec *)((float *)dst + at) = x; return; }
  words b = (words)x, nan = (words)(x != x);
  b = ((b + 0x7fff + ((b >> 16) & 1)) & ~nan | (b | 0x400000) & nan) >> 16; // as to_bf16
  *(halves *)((uint16_t *)dst + at) = __builtin_convertvector(b, halves);
}

// is_live says whether drop path has left sample b in; keep may be NULL.
static inline int is_live(const float *keep, int64_t b) { return !keep || keep[b] != 0; }

static inline int64_t size_of(int64_t t) { return t == F32 ? 4 : 2; }

// The coefficients of gelu, gelu_grad and exponential are what testdata/fit.py prints.

#if VECTOR_BYTES == 64
#define SIMD(name) _mm512_##name
typedef __m512 simd;
#elif VECTOR_BYTES == 32
#define SIMD(name) _mm256_##name
typedef __m256 simd;
#else
#define SIMD(name) _mm_##name
typedef __m128 simd;
#endif

static inline vec all(float x) { return x - (vec){}; }

// larger and smaller are b where either is NaN.
static inline vec larger(vec a, vec b) { return (vec)SIMD(max_ps)((simd)a, (simd)b); }
static inline vec smaller(vec a, vec b) { return (vec)SIMD(min_ps)((simd)a, (simd)b); }

// root is the square root of each lane. gcc keeps sqrtf's errno whatever the pragma above says, and so vectorizes no loop that calls it.
static inline vec root(vec x) { return (vec)SIMD(sqrt_ps)((simd)x); }

// exponential is e^x within 2.5 units in the last place, 0 below -87.7, infinity above 88.4: x less k·ln 2, in two parts, a
// polynomial of degree 5, and k, which the sum with 1.5·2^23 + 127 holds in its last bits as a float's exponent. NaN passes.
static inline vec exponential(vec x) {
  x = larger(all(-88.1f), smaller(all(88.9f), x));
  vec t = x * 1.44269504f + 12583039.f, k = t - 12583039.f, r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  vec y = 8.3124777e-3f * r + 4.1890550e-2f;
  y = y * r + 1.6667116e-1f; y = y * r + 4.9999228e-1f; y = y * r + 1; y = y * r + 1;
  return y * (vec)((words)t << 23);
}

// gelu is x·Phi(x), Phi(x) = 1/2 + x·p(x²)/q(x²) within 2e-7: a minimax fit on |x| < 5.4, which leaves [0, 1] before 5.6; 0 or 1 beyond. NaN passes.
static inline vec gelu(vec x) {
  vec y = larger(x, all(-5.6f)), z, p, q;
  y = smaller(y, all(5.6f)), z = y * y;
  p = 2.3386775e-8f * z + 6.3600251e-6f; p = p * z + 1.6432168e-4f; p = p * z + 4.6508512e-3f; p = p * z + 3.3372220e-2f; p = p * z + 3.9894223e-1f;
  q = 1.2165925e-6f * z + 7.2400209e-5f; q = q * z + 1.8589814e-3f; q = q * z + 2.8378684e-2f; q = q * z + 2.5031784e-1f; q = q * z + 1;
  return x * larger(smaller(0.5f + y * (p / q), all(1)), all(0));
}

// gelu_grad is Phi(x) + x·phi(x), 1/2 and an odd function as well: within 3e-7 by a fit on |x| < 6, 0 or 1 beyond. NaN passes, and infinity
// gives NaN, as the formula does.
static inline vec gelu_grad(vec x) {
  vec y = larger(x, all(-6)), z, p, q;
  y = smaller(y, all(6)), z = y * y;
  p = -2.8880138e-11f * z + 1.3002936e-8f; p = p * z + 1.1219183e-6f; p = p * z + 3.2027154e-5f; p = p * z + 2.8521824e-4f; p = p * z + 1.3569023e-2f;
  p = p * z - 1.8038338e-2f; p = p * z + 7.9788452e-1f;
  q = 3.6363193e-7f * z + 1.0812158e-5f; q = q * z + 2.5860465e-4f; q = q * z + 4.1502030e-3f; q = q * z + 4.5582701e-2f; q = q * z + 3.1072515e-1f;
  q = q * z + 1;
  words inside = (words)(y == x), odd = (words)(y * (p / q)), half = (words)all(0.5f) | (words)x & 0x80000000;
  return 0.5f + (vec)(odd & inside | half & ~inside) + 0 * x;
}

static inline float largest(vec x) {
  float y[LANES], most = -INFINITY;
  memcpy(y, &x, sizeof y);
#pragma omp simd reduction(max : most)
  for (int i = 0; i < LANES; i++) most = y[i] > most ? y[i] : most;
  return most;
}

static inline float total(vec x) {
  float y[LANES], sum = 0;
  memcpy(y, &x, sizeof y);
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < LANES; i++) sum += y[i];
  return sum;
}

static inline float dot(const float *a, const float *b, int64_t n) {
  float s = 0;
#pragma omp simd reduction(+ : s)
  for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
  return s;
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline void *scratch(int64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64); }
