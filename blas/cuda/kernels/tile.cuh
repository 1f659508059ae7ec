// Tiles of 64 rows in shared memory for attention on tensor cores, and the three ways in which mma's operands are read from them.
#ifndef TILE_CUH
#define TILE_CUH
#include "device.cuh"

constexpr int TILE = 64;   // queries or keys of a tile: 16 for each of the block's 4 warps
constexpr int STRIP = 16;  // rows of one mma

// D numbers of a row are followed by 8 of padding: rows then start 4 banks apart, and the 8 addresses of a matrix load fall on
// different banks.
template <int D> constexpr int ROW = D + 8;
template <int D> constexpr int TILE_NUMBERS = TILE * ROW<D>;

// load_tile copies rows first to first+63 of x ([n, d], `row` numbers from row to row) into a tile; rows from n and columns from d
// are 0. Every thread of the block takes part; the caller synchronizes.
template <int D> __device__ __forceinline__ void load_tile(bf16 *tile, const bf16 *x, long long row, int first, int n, int d) {
	bool vector = d % 8 == 0 && row % 8 == 0 && ((unsigned long long)x & 15) == 0;
	for (int t = threadIdx.x; t < TILE * D / 8; t += blockDim.x) {
		int r = t / (D / 8), c = t % (D / 8) * 8;
		bf16 *to = tile + r * ROW<D> + c;
		const bf16 *from = x + (first + r) * row + c;
		bool inside = first + r < n;
		if (vector) {
			Quad32 q = {};
			if (inside && c < d) q = *(const Quad32 *)from;
			*(Quad32 *)to = q;
			continue;
		}
		for (int k = 0; k < 8; k++) {
			bf16 zero = {0};
			to[k] = inside && c + k < d ? from[k] : zero;
		}
	}
}

// operand_a is rows r0 to r0+15, columns c0 to c0+15 as mma's left operand.
template <int D> __device__ __forceinline__ void operand_a(unsigned a[4], const bf16 *tile, int r0, int c0) {
	load_matrices(a, place_of(tile + (r0 + lane() % 16) * ROW<D> + c0 + lane() / 16 * 8));
}

// operand_bt is the transpose of rows r0 to r0+15, columns c0 to c0+15 as two right operands: b[0], b[1] for the first 8 rows, b[2],
// b[3] for the others. The product a·tileᵀ.
template <int D> __device__ __forceinline__ void operand_bt(unsigned b[4], const bf16 *tile, int r0, int c0) {
	load_matrices(b, place_of(tile + (r0 + lane() / 16 * 8 + lane() % 8) * ROW<D> + c0 + lane() / 8 % 2 * 8));
}

// operand_b is rows r0 to r0+15, columns c0 to c0+15 as two right operands: b[0], b[1] for the first 8 columns, b[2], b[3] for the
// others. The product a·tile.
template <int D> __device__ __forceinline__ void operand_b(unsigned b[4], const bf16 *tile, int r0, int c0) {
	load_matrices_transposed(b, place_of(tile + (r0 + lane() % 16) * ROW<D> + c0 + lane() / 16 * 8));
}

// times_transposed is c = rows ra to ra+15 of x times rows rb to rb+15 of y, transposed: [16, 16] as two mma results side by side.
template <int D> __device__ __forceinline__ void times_transposed(float c[2][4], const bf16 *x, int ra, const bf16 *y, int rb) {
#pragma unroll
	for (int k = 0; k < 4; k++) c[0][k] = c[1][k] = 0;
#pragma unroll(D > 64 ? 2 : D / 16)
	for (int k = 0; k < D; k += 16) {  // at D = 128 all operands at once would spill
		unsigned a[4], b[4];
		operand_a<D>(a, x, ra, k);
		operand_bt<D>(b, y, rb, k);
		multiply_add(c[0], a, b[0], b[1]);
		multiply_add(c[1], a, b[2], b[3]);
	}
}

// operands_a is operand_a of all columns, and the second times_transposed takes them in place of x: read once, not for every tile of y.
template <int D> __device__ __forceinline__ void operands_a(unsigned a[D / 16][4], const bf16 *tile, int r0) {
#pragma unroll
	for (int k = 0; k < D; k += 16) operand_a<D>(a[k / 16], tile, r0, k);
}
template <int D> __device__ __forceinline__ void times_transposed(float c[2][4], const unsigned a[D / 16][4], const bf16 *y, int rb) {
#pragma unroll
	for (int k = 0; k < 4; k++) c[0][k] = c[1][k] = 0;
#pragma unroll
	for (int k = 0; k < D; k += 16) {
		unsigned b[4];
		operand_bt<D>(b, y, rb, k);
		multiply_add(c[0], a[k / 16], b[0], b[1]);
		multiply_add(c[1], a[k / 16], b[2], b[3]);
	}
}

// add_product is sum += a·(rows r0 to r0+15 of x); a [16, 16] as a left operand; sum [16, D] as D/8 results.
template <int D> __device__ __forceinline__ void add_product(float sum[D / 8][4], const unsigned a[4], const bf16 *x, int r0) {
#pragma unroll
	for (int k = 0; k < D; k += 16) {
		unsigned b[4];
		operand_b<D>(b, x, r0, k);
		multiply_add(sum[k / 8], a, b[0], b[1]);
		multiply_add(sum[k / 8 + 1], a, b[2], b[3]);
	}
}

// add_times is add_product of p [16, 16] as times_transposed gives it, rounded to bf16.
template <int D> __device__ __forceinline__ void add_times(float sum[D / 8][4], const float p[2][4], const bf16 *x, int r0) {
	unsigned a[4] = {pack_bf16(p[0][0], p[0][1]), pack_bf16(p[0][2], p[0][3]), pack_bf16(p[1][0], p[1][1]), pack_bf16(p[1][2], p[1][3])};
	add_product<D>(sum, a, x, r0);
}

// store_strip writes factor[half]·sum to rows first + lane/4 + 8·half of x, where they are below n, and columns below d.
template <int D>
__device__ __forceinline__ void store_strip(bf16 *x, long long row, int first, int n, int d, const float sum[D / 8][4], float factor0, float factor1) {
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int r = first + lane() / 4 + 8 * half;
		float factor = half ? factor1 : factor0;
		if (r >= n) continue;
#pragma unroll
		for (int k = 0; k < D / 8; k++) {
			int c = 8 * k + 2 * (lane() % 4);
			float lo = factor * sum[k][2 * half], hi = factor * sum[k][2 * half + 1];
			bf16 *to = x + r * row + c;
			if (c + 1 < d && ((unsigned long long)to & 3) == 0) *(unsigned *)to = pack_bf16(lo, hi);
			else {
				if (c < d) to[0] = round_bf16(lo);
				if (c + 1 < d) to[1] = round_bf16(hi);
			}
		}
	}
}

#endif
