// Which of the instruction sets this processor offers, and how fast it multiplies pairs of bfloat16.
#include <cpuid.h>
#include <immintrin.h>
#include <time.h>
#include "detect.h"

#ifdef MVP_NARROW
enum { NARROW = 1 }; // AVX-512's kernels run on AVX2 (narrow.h)
#else
enum { NARROW = 0 };
#endif

int mvp_best_level(void) {
  __builtin_cpu_init();
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) return 0;
  if (NARROW) return 3;
  if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))) return 1;
  return __builtin_cpu_supports("avx512bf16") ? 3 : 2;
}

int mvp_has_amx_bf16(void) {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

enum { SUMS = 16, ROUNDS = 1000, TRIES = 20 };

// Each runs the same number of independent multiply-adds and returns the seconds that they took.
#define RATE(name, target_, add)                                                                 \
  static __attribute__((target(target_))) double name(void) {                                    \
    __m512 c[SUMS], one = _mm512_set1_ps(1);                                                     \
    for (int i = 0; i < SUMS; i++) c[i] = one;                                                   \
    double start = now();                                                                        \
    for (int r = 0; r < ROUNDS; r++) {                                                           \
      _Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) c[i] = add;                        \
      __asm__ volatile("" ::"v"(c[0]), "v"(c[8]));                                               \
    }                                                                                            \
    double took = now() - start;                                                                 \
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" ::"v"(c[i]));                             \
    return took;                                                                                 \
  }
RATE(fma_seconds, "avx512f", _mm512_fmadd_ps(one, one, c[i]))
RATE(pair_seconds, "avx512f,avx512bf16", _mm512_dpbf16_ps(c[i], (__m512bh)one, (__m512bh)one))

double mvp_pair_rate(void) {
  if (NARROW) return 0;
  double fma = 1, pair = 1;
  for (int i = 0; i < TRIES; i++) {
    double f = fma_seconds(), p = pair_seconds();
    if (f < fma) fma = f;
    if (p < pair) pair = p;
  }
  return fma / pair;
}
