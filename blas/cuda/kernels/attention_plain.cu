// Attention without tensor cores, all arithmetic in float32: the plain twin of attention.cu, what --dtype f32 runs, and what heads wider than
// its tiles run. A warp takes one row of scores, which lives in shared memory. For the shapes see attention.cu.
#include "device.cuh"

template <class T> struct Head {
	const T *q, *k, *v;  // of one sample and head, [n, d] with `row` numbers from row to row
	long long row;
};

template <class T> __device__ __forceinline__ Head<T> head_of(const T *qkv, int b, int h, int n, int heads, int d) {
	long long width = (long long)heads * d;
	const T *q = qkv + (long long)b * n * 3 * width + (long long)h * d;
	return {q, q + width, q + 2 * width, 3 * width};
}

template <class T> __device__ __forceinline__ float dot(const T *a, const T *b, int d) {
	float sum = 0;
	for (int c = 0; c < d; c++) sum += widen(a[c]) * widen(b[c]);
	return sum;
}

// out, lse. Launch: (n/4, heads, samples) blocks of 4 warps, one query each; n floats of shared memory a warp.
template <class T>
__device__ void attention_plain(T *out, float *lse, const T *qkv, const float *bias, int n, int heads, int d, float scale) {
	DYNAMIC_SHARED(shared);
	int warp = threadIdx.x / WARP, i = blockIdx.x * (blockDim.x / WARP) + warp, h = blockIdx.y, b = blockIdx.z;
	if (i >= n) return;
	float *p = (float *)shared + (long long)warp * n;
	Head<T> x = head_of(qkv, b, h, n, heads, d);
	const T *q = x.q + i * x.row;
	float top = minus_infinity(), sum = 0;
	for (int j = lane(); j < n; j += WARP) {
		float s = dot(q, x.k + j * x.row, d) * scale;
		if (bias) s += bias[((long long)h * n + i) * n + j];
		p[j] = s;
		top = fmaxf(top, s);
	}
	for (int k = WARP / 2; k > 0; k /= 2) top = fmaxf(top, __shfl_xor_sync(ALL, top, k));
	for (int j = lane(); j < n; j += WARP) sum += expf(p[j] - top);
	float l = top + logf(warp_sum(sum));
	if (lane() == 0) lse[((long long)b * heads + h) * n + i] = l;
	for (int j = lane(); j < n; j += WARP) p[j] = expf(p[j] - l);
	__syncwarp();
	for (int c = lane(); c < d; c += WARP) {
		float o = 0;
		for (int j = 0; j < n; j++) o += p[j] * widen(x.v[j * x.row + c]);
		narrow(out + ((long long)b * n + i) * heads * d + (long long)h * d + c, o);
	}
}
extern "C" __global__ void attention_plain_f32(float *out, float *lse, const float *qkv, const float *bias, int n, int heads, int d, float scale) { attention_plain(out, lse, qkv, bias, n, heads, d, scale); }
extern "C" __global__ void attention_plain_bf16(bf16 *out, float *lse, const bf16 *qkv, const float *bias, int n, int heads, int d, float scale) { attention_plain(out, lse, qkv, bias, n, heads, d, scale); }

// dq, and dbias[h,i] += sum over samples of dS, in sample order. Launch: (n/4, heads) blocks of 4 warps, one query of every sample
// each; 2·n floats of shared memory a warp.
template <class T>
__device__ void attention_plain_backward_of_q(T *dqkv, float *dbias, const T *dout, const T *out, const float *lse, const T *qkv, const float *bias,
                                              int samples, int n, int heads, int d, float scale) {
	DYNAMIC_SHARED(shared);
	int warp = threadIdx.x / WARP, i = blockIdx.x * (blockDim.x / WARP) + warp, h = blockIdx.y;
	if (i >= n) return;
	float *ds = (float *)shared + (long long)warp * 2 * n, *sum = ds + n;
	for (int j = lane(); j < n; j += WARP) sum[j] = 0;
	for (int b = 0; b < samples; b++) {
		Head<T> x = head_of(qkv, b, h, n, heads, d);
		long long at = ((long long)b * n + i) * heads * d + (long long)h * d;
		float delta = dot(dout + at, out + at, d), l = lse[((long long)b * heads + h) * n + i];
		for (int j = lane(); j < n; j += WARP) {
			float s = dot(x.q + i * x.row, x.k + j * x.row, d) * scale;
			if (bias) s += bias[((long long)h * n + i) * n + j];
			float g = expf(s - l) * (dot(dout + at, x.v + j * x.row, d) - delta);
			ds[j] = g;
			sum[j] += g;
		}
		__syncwarp();
		T *dq = dqkv + (x.q - qkv) + i * x.row;
		for (int c = lane(); c < d; c += WARP) {
			float g = 0;
			for (int j = 0; j < n; j++) g += ds[j] * widen(x.k[j * x.row + c]);
			narrow(dq + c, g * scale);
		}
		__syncwarp();
	}
	if (!dbias) return;
	for (int j = lane(); j < n; j += WARP) dbias[((long long)h * n + i) * n + j] += sum[j];
}
extern "C" __global__ void attention_plain_backward_q_f32(float *dqkv, float *dbias, const float *dout, const float *out, const float *lse, const float *qkv, const float *bias, int samples, int n, int heads, int d, float scale) { attention_plain_backward_of_q(dqkv, dbias, dout, out, lse, qkv, bias, samples, n, heads, d, scale); }
extern "C" __global__ void attention_plain_backward_q_bf16(bf16 *dqkv, float *dbias, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv, const float *bias, int samples, int n, int heads, int d, float scale) { attention_plain_backward_of_q(dqkv, dbias, dout, out, lse, qkv, bias, samples, n, heads, d, scale); }

// dk, dv. Launch: (n/4, heads, samples) blocks of 4 warps, one key each; 2·n floats of shared memory a warp.
template <class T>
__device__ void attention_plain_backward_of_kv(T *dqkv, const T *dout, const T *out, const float *lse, const T *qkv, const float *bias, int n, int heads, int d, float scale) {
	DYNAMIC_SHARED(shared);
	int warp = threadIdx.x / WARP, j = blockIdx.x * (blockDim.x / WARP) + warp, h = blockIdx.y, b = blockIdx.z;
	if (j >= n) return;
	float *p = (float *)shared + (long long)warp * 2 * n, *ds = p + n;
	Head<T> x = head_of(qkv, b, h, n, heads, d);
	const T *go = dout + (long long)b * n * heads * d + (long long)h * d, *o = out + (go - dout);
	long long width = (long long)heads * d;
	for (int i = lane(); i < n; i += WARP) {
		float s = dot(x.q + i * x.row, x.k + j * x.row, d) * scale;
		if (bias) s += bias[((long long)h * n + i) * n + j];
		p[i] = expf(s - lse[((long long)b * heads + h) * n + i]);
		ds[i] = p[i] * (dot(go + i * width, x.v + j * x.row, d) - dot(go + i * width, o + i * width, d));
	}
	__syncwarp();
	T *dk = dqkv + (x.k - qkv) + j * x.row, *dv = dqkv + (x.v - qkv) + j * x.row;
	for (int c = lane(); c < d; c += WARP) {
		float gk = 0, gv = 0;
		for (int i = 0; i < n; i++) {
			gk += ds[i] * widen(x.q[i * x.row + c]);
			gv += p[i] * widen(go[i * width + c]);
		}
		narrow(dk + c, gk * scale), narrow(dv + c, gv);
	}
}
extern "C" __global__ void attention_plain_backward_kv_f32(float *dqkv, const float *dout, const float *out, const float *lse, const float *qkv, const float *bias, int n, int heads, int d, float scale) { attention_plain_backward_of_kv(dqkv, dout, out, lse, qkv, bias, n, heads, d, scale); }
extern "C" __global__ void attention_plain_backward_kv_bf16(bf16 *dqkv, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv, const float *bias, int n, int heads, int d, float scale) { attention_plain_backward_of_kv(dqkv, dout, out, lse, qkv, bias, n, heads, d, scale); }
