// CUDA's language for g++: what NVRTC builds in, and the emulated bodies of ptx.cuh. Included by ptx.cuh where EMULATED is defined.
// Nothing here is PTX: tensor-core products and matrix loads are C++ that follows the PTX ISA's tables of fragments.
#ifndef EMULATOR_WARP_H
#define EMULATOR_WARP_H
#include <cmath>
#include <cstring>

#include "block.h"


#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define DYNAMIC_SHARED(name) unsigned char *name = emulated::shared_memory()

#define threadIdx (emulated::current->index)
#define blockIdx (emulated::block)
#define blockDim (emulated::block_size)
#define gridDim (emulated::grid_size)

inline void __syncthreads() { emulated::block_barrier(); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulated::warp_barrier(); }
inline float __expf(float x) { return expf(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned __float_as_uint(float x) {
	unsigned u;
	memcpy(&u, &x, 4);
	return u;
}
inline float bits_as_float(unsigned u) {
	float x;
	memcpy(&x, &u, 4);
	return x;
}

// Every lane leaves its registers in the warp's slots, all meet, and each reads what it needs. Slots alternate, so that one meeting
// an instruction is enough.
inline float __shfl_xor_sync(unsigned mask, float x, int distance) {
	if (mask != 0xffffffffu) emulated::fail("a shuffle of part of a warp");
	unsigned(*slots)[8] = emulated::slots();
	int lane = emulated::current->lane;
	slots[lane][0] = __float_as_uint(x);
	emulated::warp_barrier();
	return bits_as_float(slots[lane ^ distance][0]);
}

inline unsigned short to_bf16(float x) {
	unsigned u = __float_as_uint(x);
	if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
	return (unsigned short)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
inline unsigned pack_bf16(float lo, float hi) { return to_bf16(lo) | (unsigned)to_bf16(hi) << 16; }
inline bf16 round_bf16(float x) { return {to_bf16(x)}; }
inline float half_of(unsigned pair, int k) { return bits_as_float(k ? pair & 0xffff0000u : pair << 16); }

inline float widen(f16 x) {
	int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
	float sign = x.bits & 0x8000 ? -1.f : 1.f;
	if (exponent == 31) return fraction ? NAN : sign * INFINITY;
	return sign * (exponent ? ldexpf(1024 + fraction, exponent - 25) : ldexpf(fraction, -24));
}

typedef size_t Place;
inline Place place_of(const bf16 *p) { return (Place)p; }

// ldmatrix: lane 8i+r holds the address of row r of matrix i; a row is 16 bytes and must be aligned so.
inline void load_matrices(unsigned r[4], Place at) {
	const void *row = (const void *)at;
	emulated::access(row, 16, false);
	unsigned(*slots)[8] = emulated::slots();
	int lane = emulated::current->lane;
	memcpy(slots[lane], row, 16);
	emulated::warp_barrier();
	for (int i = 0; i < 4; i++) r[i] = slots[8 * i + lane / 4][lane % 4];
}
inline void load_matrices_transposed(unsigned r[4], Place at) {
	const void *row = (const void *)at;
	emulated::access(row, 16, false);
	unsigned(*slots)[8] = emulated::slots();
	int lane = emulated::current->lane;
	memcpy(slots[lane], row, 16);
	emulated::warp_barrier();
	for (int i = 0; i < 4; i++) {
		unsigned pair = 0;
		for (int k = 0; k < 2; k++) {  // element (lane/4, 2(lane%4)+k) of the transpose is element (2(lane%4)+k, lane/4) as stored
			unsigned short x;
			memcpy(&x, (const char *)slots[8 * i + 2 * (lane % 4) + k] + 2 * (lane / 4), 2);
			pair |= (unsigned)x << 16 * k;
		}
		r[i] = pair;
	}
}

inline void copy_async(void *to, const void *from, bool inside) { emulated::copy_later(to, from, inside); }
inline void commit_copies() { emulated::commit_copies(); }
inline void wait_copies() { emulated::finish_copies(); }

// mma.m16n8k16: a[i] holds row lane/4 + 8(i%2), columns 2(lane%4) + 8(i/2) and the next; b[i] rows 2(lane%4) + 8i and the next, column
// lane/4; c[i] row lane/4 + 8(i/2), column 2(lane%4) + i%2.
inline void multiply_add(float c[4], const unsigned a[4], unsigned b0, unsigned b1) {
	unsigned(*slots)[8] = emulated::slots();
	int lane = emulated::current->lane;
	for (int i = 0; i < 4; i++) slots[lane][i] = a[i];
	slots[lane][4] = b0, slots[lane][5] = b1;
	emulated::warp_barrier();
	for (int i = 0; i < 4; i++) {
		int row = lane / 4, column = 2 * (lane % 4) + i % 2;
		float sum = 0;
		for (int k = 0; k < 16; k++) {
			float x = half_of(slots[4 * row + k % 8 / 2][i / 2 + 2 * (k / 8)], k % 2);
			float y = half_of(slots[4 * column + k % 8 / 2][4 + k / 8], k % 2);
			sum += x * y;
		}
		c[i] += sum;
	}
}
#endif
