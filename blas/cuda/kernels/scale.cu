// What is done to parameters once a step: layer scale folded into weights, the relative position bias spread over pairs of tokens,
// and both backwards.
#include "device.cuh"

// out[o,i] = gamma[o]·w[o,i]; out_bias[o] = gamma[o]·bias[o]; w [rows, cols]. Launch: a block of 256 a row. 4 + sizeof(T) bytes a weight.
template <class T>
__device__ void layer_scale(T *out, float *out_bias, const float *w, const float *bias, const float *gamma, int cols) {
	int o = blockIdx.x;
	w += (long long)o * cols;
	out += (long long)o * cols;
	float g = gamma[o];
	bool vector = cols % 4 == 0 && aligned(w) && aligned(out);
	for (int c = 4 * threadIdx.x; c < cols; c += 4 * blockDim.x) {
		float v[4];
		load4(v, w + c, cols - c, vector);
		for (int k = 0; k < 4; k++) v[k] *= g;
		store4(out + c, v, cols - c, vector);
	}
	if (threadIdx.x == 0) out_bias[o] = g * bias[o];
}
extern "C" __global__ void layer_scale_f32(float *out, float *out_bias, const float *w, const float *bias, const float *gamma, int cols) { layer_scale(out, out_bias, w, bias, gamma, cols); }
extern "C" __global__ void layer_scale_bf16(bf16 *out, float *out_bias, const float *w, const float *bias, const float *gamma, int cols) { layer_scale(out, out_bias, w, bias, gamma, cols); }

// dgamma[o] += sum of dw[o]·w[o] + dbias[o]·bias[o]; then dw[o] *= gamma[o], dbias[o] *= gamma[o]. Launch: a block of 256 a row; 32
// floats of shared memory. 12 bytes a weight.
extern "C" __global__ void layer_scale_backward(float *dw, float *dbias, float *dgamma, const float *w, const float *bias, const float *gamma, int cols) {
	DYNAMIC_SHARED(shared);
	int o = blockIdx.x;
	w += (long long)o * cols;
	dw += (long long)o * cols;
	float g = gamma[o], sum = 0;
	bool vector = cols % 4 == 0 && aligned(w) && aligned(dw);
	for (int c = 4 * threadIdx.x; c < cols; c += 4 * blockDim.x) {
		float v[4], d[4];
		load4(v, w + c, cols - c, vector);
		load4(d, dw + c, cols - c, vector);
		for (int k = 0; k < 4; k++) sum += v[k] * d[k], d[k] *= g;
		store4(dw + c, d, cols - c, vector);
	}
	sum = block_sum(sum, (float *)shared);
	if (threadIdx.x) return;
	dgamma[o] += sum + dbias[o] * bias[o];
	dbias[o] *= g;
}

// bias[h,p] = table[index[p],h] for the pairs of tokens p < pairs. Launch: a thread a pair, 256 a block. 4·heads + 4 bytes a pair.
extern "C" __global__ void relpos_bias(float *bias, const float *table, const int *index, int heads, int pairs) {
	long long p = place();
	if (p >= pairs) return;
	const float *row = table + (long long)index[p] * heads;
	for (int h = 0; h < heads; h++) bias[(long long)h * pairs + p] = row[h];
}

// dtable[t,h] += sum of dbias[h,p] over the pairs with index[p] = t. Launch: (rows of the table, heads/8) blocks of 256, each looking
// through all of index, which stays in the second-level cache; 32 floats of shared memory.
extern "C" __global__ void relpos_bias_backward(float *dtable, const float *dbias, const int *index, int heads, int pairs) {
	DYNAMIC_SHARED(shared);
	int t = blockIdx.x, first = 8 * blockIdx.y;
	float sum[8] = {};
	for (int p = threadIdx.x; p < pairs; p += blockDim.x) {
		if (index[p] != t) continue;
#pragma unroll
		for (int k = 0; k < 8; k++)
			if (first + k < heads) sum[k] += dbias[(long long)(first + k) * pairs + p];
	}
#pragma unroll
	for (int k = 0; k < 8; k++) {
		float s = block_sum(sum[k], (float *)shared);
		if (threadIdx.x == 0 && first + k < heads) dtable[(long long)t * heads + first + k] += s;
	}
}
