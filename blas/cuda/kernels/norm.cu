// Layer norm (Ba et al., arXiv 1607.06450), forward and backward: a warp a row.
#include "device.cuh"

// y = (x - mean)·rstd·weight + bias; x [m, d] float32, y [m, d]; mean and rstd [m] are kept for backward.
// Launch: 8 rows a block of 256. The row is read three times, twice from the first-level cache: 4 + sizeof(T) bytes a number move.
template <class T>
__device__ void layer_norm(T *y, float *mean, float *rstd, const float *x, const float *weight, const float *bias, int m, int d, float eps) {
	int r = warp_row();
	if (r >= m) return;
	x += (long long)r * d;
	y += (long long)r * d;
	bool vector = d % 4 == 0 && aligned(x) && aligned(y) && aligned(weight) && aligned(bias);
	float v[4], w[4], b[4], sum = 0, square = 0;
	for (int c = 4 * lane(); c < d; c += 4 * WARP) {
		load4(v, x + c, d - c, vector);
		sum += (v[0] + v[1]) + (v[2] + v[3]);
	}
	float mu = warp_sum(sum) / d;
	for (int c = 4 * lane(); c < d; c += 4 * WARP) {
		load4(v, x + c, d - c, vector);
		for (int k = 0; k < 4; k++)
			if (c + k < d) square += (v[k] - mu) * (v[k] - mu);
	}
	float scale = 1 / sqrtf(warp_sum(square) / d + eps);
	if (lane() == 0) mean[r] = mu, rstd[r] = scale;
	for (int c = 4 * lane(); c < d; c += 4 * WARP) {
		load4(v, x + c, d - c, vector);
		load4(w, weight + c, d - c, vector);
		load4(b, bias + c, d - c, vector);
		for (int k = 0; k < 4; k++) v[k] = (v[k] - mu) * scale * w[k] + b[k];
		store4(y + c, v, d - c, vector);
	}
}
extern "C" __global__ void layer_norm_f32(float *y, float *mean, float *rstd, const float *x, const float *weight, const float *bias, int m, int d, float eps) { layer_norm(y, mean, rstd, x, weight, bias, m, d, eps); }
extern "C" __global__ void layer_norm_bf16(bf16 *y, float *mean, float *rstd, const float *x, const float *weight, const float *bias, int m, int d, float eps) { layer_norm(y, mean, rstd, x, weight, bias, m, d, eps); }

// In the rows of dropped samples, those whose keep[row/rows_per] is 0, c = residual; then y, mean and rstd of c, as above. In the other rows c
// holds its sum already. d is at most 1024: the row stays in registers.
// Launch: 8 rows a block of 256. 4 + sizeof(T) bytes a number move, 4 more in the rows of dropped samples.
template <class T>
__device__ void kept_norm(float *c, T *y, float *mean, float *rstd, const float *residual, const float *keep, const float *weight, const float *bias,
                          int m, int d, int rows_per, float eps) {
	constexpr int QUADS = 8;
	int r = warp_row();
	if (r >= m) return;
	long long at = (long long)r * d;
	c += at, y += at, residual += at;
	bool vector = d % 4 == 0 && aligned(c) && aligned(y) && aligned(residual) && aligned(weight) && aligned(bias), dropped = keep[r / rows_per] == 0;
	const float *x = dropped ? residual : c;
	float v[QUADS][4], sum = 0, square = 0;
#pragma unroll
	for (int i = 0; i < QUADS; i++) {
		int j = 4 * (lane() + i * WARP);
		if (j >= d) continue;
		load4(v[i], x + j, d - j, vector);
		sum += (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
		if (dropped) store4(c + j, v[i], d - j, vector);
	}
	float mu = warp_sum(sum) / d;
#pragma unroll
	for (int i = 0; i < QUADS; i++)
		for (int k = 0; k < 4; k++)
			if (4 * (lane() + i * WARP) + k < d) square += (v[i][k] - mu) * (v[i][k] - mu);
	float scale = 1 / sqrtf(warp_sum(square) / d + eps);
	if (lane() == 0) mean[r] = mu, rstd[r] = scale;
#pragma unroll
	for (int i = 0; i < QUADS; i++) {
		int j = 4 * (lane() + i * WARP);
		if (j >= d) continue;
		float w[4], b[4];
		load4(w, weight + j, d - j, vector);
		load4(b, bias + j, d - j, vector);
		for (int k = 0; k < 4; k++) v[i][k] = (v[i][k] - mu) * scale * w[k] + b[k];
		store4(y + j, v[i], d - j, vector);
	}
}
extern "C" __global__ void kept_norm_f32(float *c, float *y, float *mean, float *rstd, const float *residual, const float *keep, const float *weight, const float *bias, int m, int d, int rows_per, float eps) { kept_norm(c, y, mean, rstd, residual, keep, weight, bias, m, d, rows_per, eps); }
extern "C" __global__ void kept_norm_bf16(float *c, bf16 *y, float *mean, float *rstd, const float *residual, const float *keep, const float *weight, const float *bias, int m, int d, int rows_per, float eps) { kept_norm(c, y, mean, rstd, residual, keep, weight, bias, m, d, rows_per, eps); }

// dx (+)= rstd·(g - mean(g) - x̂·mean(g·x̂)), g = dy·weight; low = dx·keep in compute precision, where there is low. In the rows of
// samples that keep_dy drops, where there is keep_dy, dy counts 0. The block's sums for the weight's and the bias's gradient, [2, d], go to
// partial[block]; add_rows adds them up.
// Launch: up to two blocks a multiprocessor, of at most 8 warps; a warp takes every (warps of the grid)-th row and keeps 2·d sums in
// shared memory, 8·d bytes a warp. 8 + 2·sizeof(T) bytes a number move, 12 + 2·sizeof(T) with accumulate; of dropped samples 4 + sizeof(T).
template <class T>
__device__ void layer_norm_backward(float *dx, T *low, float *partial, const T *dy, const float *x, const float *mean, const float *rstd,
                                    const float *weight, const float *keep, const float *keep_dy, int m, int d, int accumulate, int rows_per) {
	DYNAMIC_SHARED(shared);
	int warps = blockDim.x / WARP, warp = threadIdx.x / WARP;
	float *dweight = (float *)shared + (long long)warp * 2 * d, *dbias = dweight + d;
	for (int c = lane(); c < 2 * d; c += WARP) dweight[c] = 0;
	__syncwarp();
	bool vector = d % 4 == 0 && aligned(dx) && aligned(dy) && aligned(x) && aligned(weight) && (!low || aligned(low));
	for (int r = warp_row(); r < m; r += gridDim.x * warps) {
		float factor = keep ? keep[r / rows_per] : 1.f;
		if (keep_dy && keep_dy[r / rows_per] == 0) {
			for (int c = 4 * lane(); c < d; c += 4 * WARP) {
				float v[4] = {};
				if (accumulate) load4(v, dx + (long long)r * d + c, d - c, vector);
				else store4(dx + (long long)r * d + c, v, d - c, vector);
				if (!low) continue;
				for (int k = 0; k < 4; k++) v[k] *= factor;
				store4(low + (long long)r * d + c, v, d - c, vector);
			}
			continue;
		}
		const float *xr = x + (long long)r * d;
		const T *dyr = dy + (long long)r * d;
		float *dxr = dx + (long long)r * d;
		float mu = mean[r], scale = rstd[r], sum = 0, sumx = 0;
		for (int c = 4 * lane(); c < d; c += 4 * WARP) {
			float v[4], w[4], g[4];
			load4(v, xr + c, d - c, vector);
			load4(w, weight + c, d - c, vector);
			load4(g, dyr + c, d - c, vector);
			for (int k = 0; k < 4; k++) {
				if (c + k >= d) break;
				float xhat = (v[k] - mu) * scale;
				dweight[c + k] += g[k] * xhat;
				dbias[c + k] += g[k];
				sum += g[k] * w[k];
				sumx += g[k] * w[k] * xhat;
			}
		}
		sum = warp_sum(sum) / d;
		sumx = warp_sum(sumx) / d;
		for (int c = 4 * lane(); c < d; c += 4 * WARP) {
			float v[4], w[4], g[4], old[4];
			load4(v, xr + c, d - c, vector);
			load4(w, weight + c, d - c, vector);
			load4(g, dyr + c, d - c, vector);
			if (accumulate) load4(old, dxr + c, d - c, vector);
			for (int k = 0; k < 4; k++) {
				g[k] = scale * (g[k] * w[k] - sum - (v[k] - mu) * scale * sumx);
				if (accumulate) g[k] += old[k];
			}
			store4(dxr + c, g, d - c, vector);
			if (!low) continue;
			for (int k = 0; k < 4; k++) g[k] *= factor;
			store4(low + (long long)r * d + c, g, d - c, vector);
		}
	}
	__syncthreads();
	for (int c = threadIdx.x; c < 2 * d; c += blockDim.x) {
		float sum = 0;
		for (int w = 0; w < warps; w++) sum += ((float *)shared)[(long long)w * 2 * d + c];
		partial[(long long)blockIdx.x * 2 * d + c] = sum;
	}
}
extern "C" __global__ void layer_norm_backward_f32(float *dx, float *low, float *partial, const float *dy, const float *x, const float *mean, const float *rstd, const float *weight, const float *keep, const float *keep_dy, int m, int d, int accumulate, int rows_per) { layer_norm_backward(dx, low, partial, dy, x, mean, rstd, weight, keep, keep_dy, m, d, accumulate, rows_per); }
extern "C" __global__ void layer_norm_backward_bf16(float *dx, bf16 *low, float *partial, const bf16 *dy, const float *x, const float *mean, const float *rstd, const float *weight, const float *keep, const float *keep_dy, int m, int d, int accumulate, int rows_per) { layer_norm_backward(dx, low, partial, dy, x, mean, rstd, weight, keep, keep_dy, m, d, accumulate, rows_per); }
