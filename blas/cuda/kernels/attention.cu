// Multi-head attention with relative position bias in bf16 on tensor cores, scores kept on chip (FlashAttention-2, arXiv 2307.08691).
//
// Sample b and head h see q, k, v [n, d], cut from qkv [samples·n, 3·heads·d]: S = q·kᵀ·scale + bias[h], P = softmax(S), out = P·v,
// lse = log sum exp S. A block of 4 warps takes 64 queries or keys, a warp 16 of them; d is padded to D = 16, 32, 64 or 128 in
// shared memory. Backward is two kernels, one for dq and dbias, one for dk and dv, so that every sum has one owner and a fixed
// order; that costs two products more than the five that one kernel needs. A sample whose keep is 0, where there is keep, is left out: its
// out and gradients are 0.
#include "tile.cuh"

// Whether a warp's strip of 16 rows has any below n: strips behind the end do no products.
__device__ __forceinline__ bool any_row(int first, int n) { return first < n; }

// score adds scale and bias to the products at rows i0 + lane/4 (+8), columns j0 + 2·(lane%4) (+1, +8); -inf behind the last key.
__device__ __forceinline__ void score(float s[2][4], const float *bias, int i0, int j0, int n, float scale) {
#pragma unroll
	for (int e = 0; e < 8; e++) {
		int i = i0 + lane() / 4 + e / 2 % 2 * 8, j = j0 + e / 4 * 8 + 2 * (lane() % 4) + e % 2;
		float &x = s[e / 4][e % 4];
		x *= scale;
		if (j >= n) x = minus_infinity();
		else if (bias && i < n) x += bias[(long long)i * n + j];
	}
}

// The largest or the sum over the four lanes that share a row of an mma result.
__device__ __forceinline__ float row_max(float x) {
	x = fmaxf(x, __shfl_xor_sync(ALL, x, 1));
	return fmaxf(x, __shfl_xor_sync(ALL, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
	x += __shfl_xor_sync(ALL, x, 1);
	return x + __shfl_xor_sync(ALL, x, 2);
}

__device__ __forceinline__ bool is_dropped(const float *keep, int sample) { return keep && keep[sample] == 0; }

// clear_tile writes zeros to rows first to first+63 of x ([n, d]), below n.
__device__ __forceinline__ void clear_tile(bf16 *x, long long row, int first, int n, int d) {
	bf16 zero = {0};
#pragma unroll 1
	for (int r = first + threadIdx.x / WARP; r < min(first + TILE, n); r += blockDim.x / WARP)
#pragma unroll 1
		for (int c = lane(); c < d; c += WARP) x[r * row + c] = zero;
}

__device__ __forceinline__ float sum_of_pair(unsigned p) { return bits_as_float(p << 16) + bits_as_float(p & 0xffff0000u); }

// out, lse. Launch: (n/64, heads, samples) blocks of 128; three tiles of shared memory. Moves qkv and out once and bias from the
// second-level cache; 4·n²·d operations a head.
template <int D>
__device__ void attention_forward(bf16 *out, float *lse, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) {
	DYNAMIC_SHARED(shared);
	bf16 *tq = (bf16 *)shared, *tk = tq + TILE_NUMBERS<D>, *tv = tk + TILE_NUMBERS<D>;
	int h = blockIdx.y, b = blockIdx.z, strip = threadIdx.x / WARP * STRIP, i0 = blockIdx.x * TILE + strip;
	long long width = (long long)heads * d, row = 3 * width;
	const bf16 *q = qkv + b * n * row + (long long)h * d;
	if (is_dropped(keep, b)) {
		clear_tile(out + b * n * width + (long long)h * d, width, blockIdx.x * TILE, n, d);
		return;
	}
	if (bias) bias += (long long)h * n * n;
	load_tile<D>(tq, q, row, blockIdx.x * TILE, n, d);
	float sum[D / 8][4] = {}, top[2] = {minus_infinity(), minus_infinity()}, total[2] = {};
	unsigned queries[D / 16][4];
	__syncthreads();
	operands_a<D>(queries, tq, strip);
	for (int j0 = 0; j0 < n; j0 += TILE) {
		__syncthreads();
		load_tile<D>(tk, q + width, row, j0, n, d);
		load_tile<D>(tv, q + 2 * width, row, j0, n, d);
		__syncthreads();
		if (!any_row(i0, n)) continue;
		for (int j = 0; j < TILE && j0 + j < n; j += STRIP) {
			float s[2][4];
			unsigned p[4];
			times_transposed<D>(s, queries, tk, j);
			score(s, bias, i0, j0 + j, n, scale);
#pragma unroll
			for (int half = 0; half < 2; half++) {
				float *lo = s[0] + 2 * half, *hi = s[1] + 2 * half;
				float now = fmaxf(top[half], row_max(fmaxf(fmaxf(lo[0], lo[1]), fmaxf(hi[0], hi[1]))));
				float shrink = __expf(top[half] - now);
				top[half] = now;
				// Summed as the product will see them, so that the weights of a row add up to 1.
				p[half] = pack_bf16(__expf(lo[0] - now), __expf(lo[1] - now));
				p[2 + half] = pack_bf16(__expf(hi[0] - now), __expf(hi[1] - now));
				total[half] = total[half] * shrink + (sum_of_pair(p[half]) + sum_of_pair(p[2 + half]));
#pragma unroll
				for (int k = 0; k < D / 8; k++) sum[k][2 * half] *= shrink, sum[k][2 * half + 1] *= shrink;
			}
			add_product<D>(sum, p, tv, j);
		}
	}
	if (!any_row(i0, n)) return;
	for (int half = 0; half < 2; half++) {
		total[half] = row_sum(total[half]);
		int i = i0 + lane() / 4 + 8 * half;
		if (lane() % 4 == 0 && i < n) lse[((long long)b * heads + h) * n + i] = top[half] + logf(total[half]);
	}
	store_strip<D>(out + b * n * width + (long long)h * d, width, i0, n, d, sum, 1 / total[0], 1 / total[1]);
}
extern "C" __global__ void __launch_bounds__(128) attention_16(bf16 *out, float *lse, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_forward<16>(out, lse, qkv, bias, keep, n, heads, d, scale); }
extern "C" __global__ void __launch_bounds__(128) attention_32(bf16 *out, float *lse, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_forward<32>(out, lse, qkv, bias, keep, n, heads, d, scale); }
extern "C" __global__ void __launch_bounds__(128) attention_64(bf16 *out, float *lse, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_forward<64>(out, lse, qkv, bias, keep, n, heads, d, scale); }
extern "C" __global__ void __launch_bounds__(128) attention_128(bf16 *out, float *lse, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_forward<128>(out, lse, qkv, bias, keep, n, heads, d, scale); }

// row_products is delta = dout·out over the head's columns at the warp's rows i0 to i0+15, below n: those at lane/4 (+8) in de, all of them
// in delta for the other kernel. tile holds dout, row `strip` at i0.
template <int D>
__device__ __forceinline__ void row_products(float de[2], float *delta, const bf16 *tile, int strip, const bf16 *out, long long row, int i0, int n, int d) {
#pragma unroll 1
	for (int r = 0; r < STRIP && i0 + r < n; r++) {
		float sum = 0;
#pragma unroll 1
		for (int c = lane(); c < d; c += WARP) sum += widen(tile[(strip + r) * ROW<D> + c]) * widen(out[(i0 + r) * row + c]);
		sum = warp_sum(sum);
		if (lane() == 0) delta[i0 + r] = sum;
		if (lane() / 4 == r % 8) de[r / 8] = sum;
	}
}

// gradients turns scores s and products dp = dout·vᵀ at query rows i0 + lane/4 (+8) into P and dS: s = exp(s - lse), dp = s·(dp - delta);
// both 0 behind the last query or key.
__device__ __forceinline__ void gradients(float s[2][4], float dp[2][4], const float l[2], const float delta[2], int i0, int j0, int n) {
#pragma unroll
	for (int e = 0; e < 8; e++) {
		int half = e / 2 % 2, i = i0 + lane() / 4 + 8 * half, j = j0 + e / 4 * 8 + 2 * (lane() % 4) + e % 2;
		float &p = s[e / 4][e % 4], &g = dp[e / 4][e % 4];
		p = i < n && j < n ? __expf(p - l[half]) : 0.f;
		g = i < n && j < n ? p * (g - delta[half]) : 0.f;
	}
}

// dq = dS·k·scale, and where there is partial, partial[z,h] = sum of dS over the samples of group z, [n, n] float32; add_rows adds the
// groups up. Sample b belongs to group b%groups.
// delta = dout·out of each row and head is left for the other kernel.
// Launch: (n/64, heads, groups) blocks of 128; four tiles of shared memory, and [64, n] floats where in_shared says that they
// fit, which else are summed in partial itself: three blocks a multiprocessor at most, and registers for so many. Moves qkv, dout, out and
// dq once; 6·n²·d operations a head and sample.
template <int D>
__device__ void attention_backward_of_q(bf16 *dqkv, float *partial, float *delta, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv,
                                        const float *bias, const float *keep, int samples, int n, int heads, int d, float scale, int in_shared) {
	DYNAMIC_SHARED(shared);
	bf16 *tq = (bf16 *)shared, *tk = tq + TILE_NUMBERS<D>, *tv = tk + TILE_NUMBERS<D>, *tg = tv + TILE_NUMBERS<D>;
	int h = blockIdx.y, strip = threadIdx.x / WARP * STRIP, first = blockIdx.x * TILE, i0 = first + strip;
	long long width = (long long)heads * d, row = 3 * width;
	if (bias) bias += (long long)h * n * n;
	float *sums = partial;  // of this block's queries: element (i, j) at sums[(i-first)·n + j], owned by one thread
	if (partial) {
		sums += (((long long)blockIdx.z * heads + h) * n + first) * n;
		if (in_shared) sums = (float *)(tg + TILE_NUMBERS<D>);
	}
	int rows_here = min(TILE, n - first);
	for (int k = threadIdx.x; partial && k < rows_here * n; k += blockDim.x) sums[k] = 0;
	for (int b = blockIdx.z; b < samples; b += gridDim.z) {
		const bf16 *q = qkv + b * n * row + (long long)h * d;
		if (is_dropped(keep, b)) {
			clear_tile(dqkv + (q - qkv), row, first, n, d);
			continue;
		}
		__syncthreads();
		load_tile<D>(tq, q, row, first, n, d);
		load_tile<D>(tg, dout + b * n * width + (long long)h * d, width, first, n, d);
		float l[2] = {}, de[2] = {};
		long long rows = ((long long)b * heads + h) * n;
		for (int half = 0; half < 2; half++) {
			int i = i0 + lane() / 4 + 8 * half;
			if (i < n) l[half] = lse[rows + i];
		}
		__syncthreads();
		row_products<D>(de, delta + rows, tg, strip, out + b * n * width + (long long)h * d, width, i0, n, d);
		float sum[D / 8][4] = {};
		for (int j0 = 0; j0 < n; j0 += TILE) {
			__syncthreads();
			load_tile<D>(tk, q + width, row, j0, n, d);
			load_tile<D>(tv, q + 2 * width, row, j0, n, d);
			__syncthreads();
			if (!any_row(i0, n)) continue;
			for (int j = 0; j < TILE && j0 + j < n; j += STRIP) {
				float s[2][4], ds[2][4];
				times_transposed<D>(s, tq, strip, tk, j);
				times_transposed<D>(ds, tg, strip, tv, j);
				score(s, bias, i0, j0 + j, n, scale);
				gradients(s, ds, l, de, i0, j0 + j, n);
				if (partial) {
#pragma unroll
					for (int e = 0; e < 8; e++) {
						int r = strip + lane() / 4 + e / 2 % 2 * 8, c = j0 + j + e / 4 * 8 + 2 * (lane() % 4) + e % 2;
						if (first + r >= n || c >= n) continue;
						sums[(long long)r * n + c] += ds[e / 4][e % 4];
					}
				}
				add_times<D>(sum, ds, tk, j);
			}
		}
		if (any_row(i0, n)) store_strip<D>(dqkv + (q - qkv), row, i0, n, d, sum, scale, scale);
	}
	if (!partial || !in_shared) return;
	__syncthreads();
	float *to = partial + (((long long)blockIdx.z * heads + h) * n + first) * n;
	for (int k = threadIdx.x; k < rows_here * n; k += blockDim.x) to[k] = sums[k];
}
extern "C" __global__ void __launch_bounds__(128, 3) attention_backward_q_16(bf16 *dqkv, float *partial, float *delta, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv, const float *bias, const float *keep, int samples, int n, int heads, int d, float scale, int in_shared) { attention_backward_of_q<16>(dqkv, partial, delta, dout, out, lse, qkv, bias, keep, samples, n, heads, d, scale, in_shared); }
extern "C" __global__ void __launch_bounds__(128, 3) attention_backward_q_32(bf16 *dqkv, float *partial, float *delta, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv, const float *bias, const float *keep, int samples, int n, int heads, int d, float scale, int in_shared) { attention_backward_of_q<32>(dqkv, partial, delta, dout, out, lse, qkv, bias, keep, samples, n, heads, d, scale, in_shared); }
extern "C" __global__ void __launch_bounds__(128, 3) attention_backward_q_64(bf16 *dqkv, float *partial, float *delta, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv, const float *bias, const float *keep, int samples, int n, int heads, int d, float scale, int in_shared) { attention_backward_of_q<64>(dqkv, partial, delta, dout, out, lse, qkv, bias, keep, samples, n, heads, d, scale, in_shared); }
extern "C" __global__ void __launch_bounds__(128, 3) attention_backward_q_128(bf16 *dqkv, float *partial, float *delta, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv, const float *bias, const float *keep, int samples, int n, int heads, int d, float scale, int in_shared) { attention_backward_of_q<128>(dqkv, partial, delta, dout, out, lse, qkv, bias, keep, samples, n, heads, d, scale, in_shared); }

// dk = dSᵀ·q·scale, dv = Pᵀ·dout. The scores are computed transposed, keys as rows, so that Pᵀ and dSᵀ come out as left operands.
// Launch: (n/64, heads, samples) blocks of 128; four tiles and 128 floats of shared memory. Moves qkv, dout, dk and dv once; 8·n²·d
// operations a head and sample.
template <int D>
__device__ void attention_backward_of_kv(bf16 *dqkv, const bf16 *dout, const float *lse, const float *delta, const bf16 *qkv, const float *bias,
                                         const float *keep, int n, int heads, int d, float scale) {
	DYNAMIC_SHARED(shared);
	bf16 *tq = (bf16 *)shared, *tk = tq + TILE_NUMBERS<D>, *tv = tk + TILE_NUMBERS<D>, *tg = tv + TILE_NUMBERS<D>;
	float *ls = (float *)(tg + TILE_NUMBERS<D>), *des = ls + TILE;
	int h = blockIdx.y, b = blockIdx.z, strip = threadIdx.x / WARP * STRIP, first = blockIdx.x * TILE, j0 = first + strip;
	long long width = (long long)heads * d, row = 3 * width;
	const bf16 *q = qkv + b * n * row + (long long)h * d;
	if (is_dropped(keep, b)) {
		clear_tile(dqkv + (q - qkv) + width, row, first, n, d);
		clear_tile(dqkv + (q - qkv) + 2 * width, row, first, n, d);
		return;
	}
	if (bias) bias += (long long)h * n * n;
	load_tile<D>(tk, q + width, row, first, n, d);
	load_tile<D>(tv, q + 2 * width, row, first, n, d);
	float dk[D / 8][4] = {}, dv[D / 8][4] = {};
	for (int i0 = 0; i0 < n; i0 += TILE) {
		__syncthreads();
		load_tile<D>(tq, q, row, i0, n, d);
		load_tile<D>(tg, dout + b * n * width + (long long)h * d, width, i0, n, d);
		for (int k = threadIdx.x; k < TILE; k += blockDim.x) {
			bool inside = i0 + k < n;
			ls[k] = inside ? lse[((long long)b * heads + h) * n + i0 + k] : 0.f;
			des[k] = inside ? delta[((long long)b * heads + h) * n + i0 + k] : 0.f;
		}
		__syncthreads();
		if (!any_row(j0, n)) continue;
		for (int i = 0; i < TILE && i0 + i < n; i += STRIP) {
			float p[2][4], ds[2][4];
			times_transposed<D>(p, tk, strip, tq, i);
			times_transposed<D>(ds, tv, strip, tg, i);
#pragma unroll
			for (int e = 0; e < 8; e++) {
				int j = j0 + lane() / 4 + e / 2 % 2 * 8, k = i + e / 4 * 8 + 2 * (lane() % 4) + e % 2;
				bool inside = j < n && i0 + k < n;
				float s = p[e / 4][e % 4] * scale;
				if (bias && inside) s += bias[(long long)(i0 + k) * n + j];
				s = inside ? __expf(s - ls[k]) : 0.f;
				p[e / 4][e % 4] = s;
				ds[e / 4][e % 4] = inside ? s * (ds[e / 4][e % 4] - des[k]) : 0.f;
			}
			add_times<D>(dv, p, tg, i);
			add_times<D>(dk, ds, tq, i);
		}
	}
	if (!any_row(j0, n)) return;
	bf16 *to = dqkv + (q - qkv);
	store_strip<D>(to + width, row, j0, n, d, dk, scale, scale);
	store_strip<D>(to + 2 * width, row, j0, n, d, dv, 1, 1);
}
extern "C" __global__ void __launch_bounds__(128) attention_backward_kv_16(bf16 *dqkv, const bf16 *dout, const float *lse, const float *delta, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_backward_of_kv<16>(dqkv, dout, lse, delta, qkv, bias, keep, n, heads, d, scale); }
extern "C" __global__ void __launch_bounds__(128) attention_backward_kv_32(bf16 *dqkv, const bf16 *dout, const float *lse, const float *delta, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_backward_of_kv<32>(dqkv, dout, lse, delta, qkv, bias, keep, n, heads, d, scale); }
extern "C" __global__ void __launch_bounds__(128) attention_backward_kv_64(bf16 *dqkv, const bf16 *dout, const float *lse, const float *delta, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_backward_of_kv<64>(dqkv, dout, lse, delta, qkv, bias, keep, n, heads, d, scale); }
extern "C" __global__ void __launch_bounds__(128) attention_backward_kv_128(bf16 *dqkv, const bf16 *dout, const float *lse, const float *delta, const bf16 *qkv, const float *bias, const float *keep, int n, int heads, int d, float scale) { attention_backward_of_kv<128>(dqkv, dout, lse, delta, qkv, bias, keep, n, heads, d, scale); }
