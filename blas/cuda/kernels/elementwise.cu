// Kernels that see each number once: conversions, the epilogues that cuBLASLt does not offer, moving averages. All are bound by
// memory bandwidth; threads take four numbers at a time, 256 threads a block, in a loop over the array.
#include "device.cuh"

// dst[i] = src[i], times scale[row/rows_per] where there is scale; cols numbers a row.
// Launch: 1 + n/1024 blocks at most, of 256. Moves n times the two sizes.
template <class D, class S> __device__ void cast(D *dst, const S *src, const float *scale, long long n, int cols, int rows_per) {
	bool vector = aligned(dst) && aligned(src) && n % 4 == 0 && (!scale || cols % 4 == 0);
	for (long long i = 4 * place(); i < n; i += 4 * places()) {
		float v[4];
		load4(v, src + i, n - i, vector);
		if (scale)
			for (int k = 0; k < 4; k++)
				if (i + k < n) v[k] *= scale[(i + k) / cols / rows_per];
		store4(dst + i, v, n - i, vector);
	}
}
extern "C" __global__ void cast_f32_f32(float *dst, const float *src, const float *scale, long long n, int cols, int rows_per) { cast(dst, src, scale, n, cols, rows_per); }
extern "C" __global__ void cast_f32_bf16(float *dst, const bf16 *src, const float *scale, long long n, int cols, int rows_per) { cast(dst, src, scale, n, cols, rows_per); }
extern "C" __global__ void cast_f32_f16(float *dst, const f16 *src, const float *scale, long long n, int cols, int rows_per) { cast(dst, src, scale, n, cols, rows_per); }
extern "C" __global__ void cast_bf16_f32(bf16 *dst, const float *src, const float *scale, long long n, int cols, int rows_per) { cast(dst, src, scale, n, cols, rows_per); }
extern "C" __global__ void cast_bf16_bf16(bf16 *dst, const bf16 *src, const float *scale, long long n, int cols, int rows_per) { cast(dst, src, scale, n, cols, rows_per); }
extern "C" __global__ void cast_bf16_f16(bf16 *dst, const f16 *src, const float *scale, long long n, int cols, int rows_per) { cast(dst, src, scale, n, cols, rows_per); }

// y[i] = gelu(u[i]): where cuBLASLt's own GELU does not apply (float32, odd widths). Moves n times the two sizes.
template <class T> __device__ void gelu_of(T *y, const T *u, long long n) {
	bool vector = aligned(y) && aligned(u) && n % 4 == 0;
	for (long long i = 4 * place(); i < n; i += 4 * places()) {
		float v[4];
		load4(v, u + i, n - i, vector);
		for (int k = 0; k < 4; k++) v[k] = gelu(v[k]);
		store4(y + i, v, n - i, vector);
	}
}
extern "C" __global__ void gelu_f32(float *y, const float *u, long long n) { gelu_of(y, u, n); }
extern "C" __global__ void gelu_bf16(bf16 *y, const bf16 *u, long long n) { gelu_of(y, u, n); }

// c[i] *= gelu'(u[i]). Moves n times three sizes.
template <class T> __device__ void times_gelu_grad(T *c, const T *u, long long n) {
	bool vector = aligned(c) && aligned(u) && n % 4 == 0;
	for (long long i = 4 * place(); i < n; i += 4 * places()) {
		float v[4], x[4];
		load4(v, c + i, n - i, vector);
		load4(x, u + i, n - i, vector);
		for (int k = 0; k < 4; k++) v[k] *= gelu_grad(x[k]);
		store4(c + i, v, n - i, vector);
	}
}
extern "C" __global__ void gelu_grad_f32(float *c, const float *u, long long n) { times_gelu_grad(c, u, n); }
extern "C" __global__ void gelu_grad_bf16(bf16 *c, const bf16 *u, long long n) { times_gelu_grad(c, u, n); }

// scales[0] is the factor that keep has for samples that are not dropped, 0 where all are; scales[1] = 1, and from scales[64] on the bias times
// the factor, 0 where there is no bias: what cuBLASLt multiplies a product by, a residual by, and adds. Launch: a thread a column, 256 a block.
extern "C" __global__ void drop_path_scales(float *scales, const float *keep, const float *bias, int samples, int cols) {
	float factor = 0;
	for (int i = lane(); i < samples; i += WARP) factor = fmaxf(factor, keep[i]);
	for (int k = WARP / 2; k > 0; k /= 2) factor = fmaxf(factor, __shfl_xor_sync(ALL, factor, k));
	if (place() == 0) scales[0] = factor, scales[1] = 1;
	if (place() < cols) scales[64 + place()] = bias ? factor * bias[place()] : 0.f;
}

// c = residual in the rows of dropped samples, those whose keep[row/rows_per] is 0. Launch: 8 rows a block of 256. Moves 8 bytes a number there.
extern "C" __global__ void put_back(float *c, const float *residual, const float *keep, int rows, int cols, int rows_per) {
	int r = warp_row();
	if (r >= rows || keep[r / rows_per] != 0) return;
	for (int j = lane(); j < cols; j += WARP) c[(long long)r * cols + j] = residual[(long long)r * cols + j];
}

// c = residual + keep[row/rows_per]·(x + bias), residual where the factor is 0; x is the float32 product, bias optional, and c may be residual.
// Moves 12 bytes a number.
extern "C" __global__ void residual_f32(float *c, const float *x, const float *bias, const float *residual, const float *keep, int rows,
                                        int cols, int rows_per) {
	long long n = (long long)rows * cols;
	bool vector = aligned(c) && aligned(x) && aligned(residual) && cols % 4 == 0;
	for (long long i = 4 * place(); i < n; i += 4 * places()) {
		float v[4], r[4];
		load4(v, x + i, n - i, vector);
		load4(r, residual + i, n - i, vector);
		for (int k = 0; k < 4 && i + k < n; k++) {
			int row = (int)((i + k) / cols), col = (int)((i + k) % cols);
			float factor = keep[row / rows_per];
			if (factor != 0) r[k] += factor * (bias ? v[k] + bias[col] : v[k]);
		}
		store4(c + i, r, n - i, vector);
	}
}

// avg = decay·avg + rest·x, rest = 1 - decay. Moves 12 bytes a number.
extern "C" __global__ void ema_f32(float *avg, const float *x, long long n, float decay, float rest) {
	bool vector = aligned(avg) && aligned(x) && n % 4 == 0;
	for (long long i = 4 * place(); i < n; i += 4 * places()) {
		float a[4], v[4];
		load4(a, avg + i, n - i, vector);
		load4(v, x + i, n - i, vector);
		for (int k = 0; k < 4; k++) a[k] = decay * a[k] + rest * v[k];
		store4(avg + i, a, n - i, vector);
	}
}
