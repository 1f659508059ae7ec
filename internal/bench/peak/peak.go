// Package peak measures what the cores multiply at most, the limit that the benchmarks print.
package peak

/*
#cgo CFLAGS: -O3 -fopenmp
#cgo LDFLAGS: -fopenmp
#include <immintrin.h>
#include <omp.h>
#include <time.h>

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

enum { SUMS = 12 }; // with one more they fit AVX2's 16 registers

// Each runs rounds of SUMS independent multiply-adds and returns the seconds that they took.
#define RATE(name, isa, type, broadcast, add)                             \
	static __attribute__((target(isa))) double name(long rounds) {         \
		type c[SUMS], one = broadcast;                                     \
		for (int i = 0; i < SUMS; i++) c[i] = one;                         \
		double start = now();                                              \
		for (long r = 0; r < rounds; r++) {                                \
			_Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) c[i] = add; \
			__asm__ volatile("" ::"v"(c[0]), "v"(c[8]));                   \
		}                                                                  \
		double took = now() - start;                                       \
		for (int i = 0; i < SUMS; i++) __asm__ volatile("" ::"v"(c[i]));    \
		return took;                                                       \
	}
RATE(pairs, "avx512f,avx512bf16", __m512, _mm512_set1_ps(1), _mm512_dpbf16_ps(c[i], (__m512bh)one, (__m512bh)one))
RATE(wide, "avx512f", __m512, _mm512_set1_ps(1), _mm512_fmadd_ps(one, one, c[i]))
RATE(narrow, "avx2,fma", __m256, _mm256_set1_ps(1), _mm256_fmadd_ps(one, one, c[i]))

// peak is GFLOP/s of all threads in registers: the better of float32 and, for bf16, of pairs; 0 without AVX2.
static double peak(int threads, int bf16) {
	const long rounds = 1 << 20;
	double sum = 0;
	__builtin_cpu_init();
	int best = __builtin_cpu_supports("avx512f") ? 1 : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 2 : 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
	for (int try = 0; try < 3; try++) {
		double rate = best == 1 ? SUMS * 32 * rounds / wide(rounds) : best == 2 ? SUMS * 16 * rounds / narrow(rounds) : 0;
		if (bf16 && __builtin_cpu_supports("avx512bf16")) {
			double p = SUMS * 64 * rounds / pairs(rounds);
			if (p > rate) rate = p;
		}
		if (rate > sum) sum = rate;
	}
	return sum / 1e9;
}
*/
import "C"

import "mvptargets/blas"

var peaks = map[blas.DType]float64{}

// Rate is the rate in GFLOP/s that all cores reach on multiply-adds in registers: the limit for any product.
func Rate(t blas.DType, threads int) float64 {
	if peaks[t] == 0 {
		bf16 := 0
		if t == blas.BF16 {
			bf16 = 1
		}
		peaks[t] = float64(C.peak(C.int(threads), C.int(bf16)))
	}
	return peaks[t]
}
