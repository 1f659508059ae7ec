// What the kernels share: number types, loads and stores of four numbers, reductions over warps and blocks.
//
// Every kernel is an extern "C" function with typed parameters; the launcher reads their kinds from this text (signature.go), so
// an argument of the wrong kind is caught before the driver sees it. All shared memory is dynamic, its size given by the
// launcher. No kernel adds floats atomically: results are the same to the last bit on each run.
#ifndef DEVICE_CUH
#define DEVICE_CUH
#include "ptx.cuh"

constexpr int WARP = 32;
constexpr unsigned ALL = 0xffffffffu;  // every lane of a warp

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return bits_as_float((unsigned)x.bits << 16); }
__device__ __forceinline__ float minus_infinity() { return bits_as_float(0xff800000u); }
__device__ __forceinline__ void narrow(float *p, float x) { *p = x; }
__device__ __forceinline__ void narrow(bf16 *p, float x) { *p = round_bf16(x); }

// The bytes of four numbers: one vector load or store each.
struct __align__(16) Quad32 { unsigned v[4]; };
struct __align__(8) Quad16 { unsigned v[2]; };

// aligned says whether p admits vectors of four of its numbers.
template <class T> __device__ __forceinline__ bool aligned(const T *p) { return ((unsigned long long)p & (4 * sizeof(T) - 1)) == 0; }

__device__ __forceinline__ void load_quad(float v[4], const float *p) {
	Quad32 q = *(const Quad32 *)p;
	for (int i = 0; i < 4; i++) v[i] = bits_as_float(q.v[i]);
}
__device__ __forceinline__ void load_quad(float v[4], const bf16 *p) {
	Quad16 q = *(const Quad16 *)p;
	for (int i = 0; i < 2; i++) v[2 * i] = bits_as_float(q.v[i] << 16), v[2 * i + 1] = bits_as_float(q.v[i] & 0xffff0000u);
}
__device__ __forceinline__ void load_quad(float v[4], const f16 *p) {
	Quad16 q = *(const Quad16 *)p;
	for (int i = 0; i < 2; i++) {
		f16 lo = {(unsigned short)(q.v[i] & 0xffff)}, hi = {(unsigned short)(q.v[i] >> 16)};
		v[2 * i] = widen(lo), v[2 * i + 1] = widen(hi);
	}
}
__device__ __forceinline__ void store_quad(float *p, const float v[4]) {
	Quad32 q;
	for (int i = 0; i < 4; i++) q.v[i] = __float_as_uint(v[i]);
	*(Quad32 *)p = q;
}
__device__ __forceinline__ void store_quad(bf16 *p, const float v[4]) {
	Quad16 q;
	for (int i = 0; i < 2; i++) q.v[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
	*(Quad16 *)p = q;
}

// load4 reads up to four numbers, n of them left in the row; the missing ones are 0. vector says that the row's start is aligned and
// its length a multiple of four, so that n >= 4.
template <class T> __device__ __forceinline__ void load4(float v[4], const T *p, long long n, bool vector) {
	if (vector) return load_quad(v, p);
	for (int i = 0; i < 4; i++) v[i] = i < n ? widen(p[i]) : 0.f;
}
template <class T> __device__ __forceinline__ void store4(T *p, const float v[4], long long n, bool vector) {
	if (vector) return store_quad(p, v);
	for (int i = 0; i < 4; i++)
		if (i < n) narrow(p + i, v[i]);
}

// The sum over a warp, in every lane.
__device__ __forceinline__ float warp_sum(float x) {
	for (int d = WARP / 2; d > 0; d /= 2) x += __shfl_xor_sync(ALL, x, d);
	return x;
}

// The sum over a block of up to 1024 threads, in every thread; scratch is 32 floats of shared memory.
__device__ __forceinline__ float block_sum(float x, float *scratch) {
	x = warp_sum(x);
	__syncthreads();  // scratch may still be read from the last time
	if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
	__syncthreads();
	x = 0;
	for (unsigned w = 0; w < (blockDim.x + WARP - 1) / WARP; w++) x += scratch[w];
	return x;
}

// The thread's place in the grid, and the number of threads, for loops over flat arrays.
__device__ __forceinline__ long long place() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ long long places() { return (long long)gridDim.x * blockDim.x; }

// The warp's place in the grid, for kernels that give each row a warp.
__device__ __forceinline__ int warp_row() { return (int)((blockIdx.x * blockDim.x + threadIdx.x) / WARP); }
__device__ __forceinline__ int lane() { return threadIdx.x % WARP; }

// x·Φ(x) and its derivative Φ(x) + x·φ(x) (Hendrycks & Gimpel, arXiv 1606.08415), exact up to erff.
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1 + erff(x * 0.70710678f)); }
__device__ __forceinline__ float gelu_grad(float x) {
	return 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
}

#endif
