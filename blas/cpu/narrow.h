// AVX-512's instructions by AVX2's, for tests of these kernels where no processor has the real ones (`go test -tags narrow ./blas/cpu`): gcc
// splits vectors of 64 bytes in two, and what the kernels call by name is here. Slow in any case, since tiles no longer fit the registers, and so
// compiled with little effort: with all of it gcc takes five minutes.
#pragma GCC target("avx2,fma,f16c")
#pragma GCC optimize("O1", "no-math-errno", "no-trapping-math")
#define UNROLLED
#include <immintrin.h>
#include <stdint.h>

typedef union { __m512 whole; __m256 half[2]; } both;

#define BOTH(name, args, call)                                                       \
  static inline __attribute__((always_inline)) __m512 narrow_##name args {             \
    both y;                                                                            \
    for (int i = 0; i < 2; i++) y.half[i] = call;                                      \
    return y.whole;                                                                    \
  }
BOTH(max, (__m512 a, __m512 b), _mm256_max_ps(((both){a}).half[i], ((both){b}).half[i]))
BOTH(min, (__m512 a, __m512 b), _mm256_min_ps(((both){a}).half[i], ((both){b}).half[i]))
BOTH(sqrt, (__m512 a), _mm256_sqrt_ps(((both){a}).half[i]))

static inline __attribute__((always_inline)) __m512 narrow_set1(float x) {
  __m256 y = _mm256_set1_ps(x);
  return (both){.half = {y, y}}.whole;
}

// narrow_pairs is sum and the products of the high halves, and of the low ones. vdpbf16ps takes denormal numbers for 0, this does not.
static inline __attribute__((always_inline)) __m512 narrow_pairs(__m512 sum, __m512bh a, __m512bh b) {
  typedef float floats __attribute__((vector_size(64)));
  typedef uint32_t words __attribute__((vector_size(64)));
  words x = (words)a, y = (words)b;
  return (__m512)((floats)sum + (floats)(x & 0xffff0000) * (floats)(y & 0xffff0000) + (floats)(x << 16) * (floats)(y << 16));
}

#define _mm512_max_ps narrow_max
#define _mm512_min_ps narrow_min
#define _mm512_sqrt_ps narrow_sqrt
#define _mm512_set1_ps narrow_set1
#define _mm512_dpbf16_ps narrow_pairs
