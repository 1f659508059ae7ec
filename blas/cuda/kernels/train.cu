// Losses and the optimizer.
#include "device.cuh"

// stats[r] = cos, 1/max(|p|, 1e-8), 1/max(|t|, 1e-8) of rows p of pred and t of target, [rows, k]; row_loss[r] = 1 - cos, which finish_sum
// adds up. Launch: a warp a row, 8 rows a block. Moves both matrices once.
template <class P, class Q>
__device__ void cosine_loss(float *row_loss, float *stats, const P *pred, const Q *target, int rows, int k) {
	int r = warp_row();
	if (r >= rows) return;
	pred += (long long)r * k;
	target += (long long)r * k;
	bool vector = k % 4 == 0 && aligned(pred) && aligned(target);
	float pp = 0, tt = 0, pt = 0;
	for (int c = 4 * lane(); c < k; c += 4 * WARP) {
		float p[4], t[4];
		load4(p, pred + c, k - c, vector);
		load4(t, target + c, k - c, vector);
		for (int i = 0; i < 4; i++) pp += p[i] * p[i], tt += t[i] * t[i], pt += p[i] * t[i];
	}
	pp = sqrtf(warp_sum(pp)), tt = sqrtf(warp_sum(tt)), pt = warp_sum(pt);
	if (lane()) return;
	float inv_p = 1 / (pp < 1e-8f ? 1e-8f : pp), inv_t = 1 / (tt < 1e-8f ? 1e-8f : tt), cosine = pt * inv_p * inv_t;  // a NaN stays one
	stats[3 * r] = cosine, stats[3 * r + 1] = inv_p, stats[3 * r + 2] = inv_t;
	row_loss[r] = 1 - cosine;
}
extern "C" __global__ void cosine_loss_f32_f32(float *row_loss, float *stats, const float *pred, const float *target, int rows, int k) { cosine_loss(row_loss, stats, pred, target, rows, k); }
extern "C" __global__ void cosine_loss_f32_f16(float *row_loss, float *stats, const float *pred, const f16 *target, int rows, int k) { cosine_loss(row_loss, stats, pred, target, rows, k); }
extern "C" __global__ void cosine_loss_bf16_f32(float *row_loss, float *stats, const bf16 *pred, const float *target, int rows, int k) { cosine_loss(row_loss, stats, pred, target, rows, k); }
extern "C" __global__ void cosine_loss_bf16_f16(float *row_loss, float *stats, const bf16 *pred, const f16 *target, int rows, int k) { cosine_loss(row_loss, stats, pred, target, rows, k); }

// dpred = -scale·inv_p·(t·inv_t - cos·p·inv_p). Launch: a warp a row, 8 rows a block. Moves three matrices once.
template <class P, class Q>
__device__ void cosine_loss_backward(P *dpred, const float *stats, const P *pred, const Q *target, int rows, int k, float scale) {
	int r = warp_row();
	if (r >= rows) return;
	float cosine = stats[3 * r], inv_p = stats[3 * r + 1], inv_t = stats[3 * r + 2];
	long long at = (long long)r * k;
	bool vector = k % 4 == 0 && aligned(pred) && aligned(target) && aligned(dpred);
	for (int c = 4 * lane(); c < k; c += 4 * WARP) {
		float p[4], t[4];
		load4(p, pred + at + c, k - c, vector);
		load4(t, target + at + c, k - c, vector);
		for (int i = 0; i < 4; i++) p[i] = -scale * inv_p * (t[i] * inv_t - cosine * p[i] * inv_p);
		store4(dpred + at + c, p, k - c, vector);
	}
}
extern "C" __global__ void cosine_loss_backward_f32_f32(float *dpred, const float *stats, const float *pred, const float *target, int rows, int k, float scale) { cosine_loss_backward(dpred, stats, pred, target, rows, k, scale); }
extern "C" __global__ void cosine_loss_backward_f32_f16(float *dpred, const float *stats, const float *pred, const f16 *target, int rows, int k, float scale) { cosine_loss_backward(dpred, stats, pred, target, rows, k, scale); }
extern "C" __global__ void cosine_loss_backward_bf16_f32(bf16 *dpred, const float *stats, const bf16 *pred, const float *target, int rows, int k, float scale) { cosine_loss_backward(dpred, stats, pred, target, rows, k, scale); }
extern "C" __global__ void cosine_loss_backward_bf16_f16(bf16 *dpred, const float *stats, const bf16 *pred, const f16 *target, int rows, int k, float scale) { cosine_loss_backward(dpred, stats, pred, target, rows, k, scale); }

// partial[block] = sum of d²/(2·beta) where |d| < beta, else |d| - beta/2; d = pred - target, n numbers. finish_sum adds up.
// Launch: up to 1024 blocks of 256; 32 floats of shared memory. Moves both arrays once.
template <class P, class Q> __device__ void smooth_l1_loss(float *partial, const P *pred, const Q *target, long long n, float beta) {
	DYNAMIC_SHARED(shared);
	float sum = 0;
	for (long long i = place(); i < n; i += places()) {
		float d = fabsf(widen(pred[i]) - widen(target[i]));
		sum += d < beta ? d * d / (2 * beta) : d - beta / 2;
	}
	sum = block_sum(sum, (float *)shared);
	if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
extern "C" __global__ void smooth_l1_loss_f32_f32(float *partial, const float *pred, const float *target, long long n, float beta) { smooth_l1_loss(partial, pred, target, n, beta); }
extern "C" __global__ void smooth_l1_loss_f32_f16(float *partial, const float *pred, const f16 *target, long long n, float beta) { smooth_l1_loss(partial, pred, target, n, beta); }
extern "C" __global__ void smooth_l1_loss_bf16_f32(float *partial, const bf16 *pred, const float *target, long long n, float beta) { smooth_l1_loss(partial, pred, target, n, beta); }
extern "C" __global__ void smooth_l1_loss_bf16_f16(float *partial, const bf16 *pred, const f16 *target, long long n, float beta) { smooth_l1_loss(partial, pred, target, n, beta); }

// dpred = scale·clamp((pred - target)/beta, -1, 1). Launch: up to 1024 blocks of 256. Moves three arrays once.
template <class P, class Q> __device__ void smooth_l1_loss_backward(P *dpred, const P *pred, const Q *target, long long n, float beta, float scale) {
	for (long long i = place(); i < n; i += places()) {
		float d = (widen(pred[i]) - widen(target[i])) / beta;
		narrow(dpred + i, scale * (d < -1 ? -1.f : d > 1 ? 1.f : d));  // a NaN stays one
	}
}
extern "C" __global__ void smooth_l1_loss_backward_f32_f32(float *dpred, const float *pred, const float *target, long long n, float beta, float scale) { smooth_l1_loss_backward(dpred, pred, target, n, beta, scale); }
extern "C" __global__ void smooth_l1_loss_backward_f32_f16(float *dpred, const float *pred, const f16 *target, long long n, float beta, float scale) { smooth_l1_loss_backward(dpred, pred, target, n, beta, scale); }
extern "C" __global__ void smooth_l1_loss_backward_bf16_f32(bf16 *dpred, const bf16 *pred, const float *target, long long n, float beta, float scale) { smooth_l1_loss_backward(dpred, pred, target, n, beta, scale); }
extern "C" __global__ void smooth_l1_loss_backward_bf16_f16(bf16 *dpred, const bf16 *pred, const f16 *target, long long n, float beta, float scale) { smooth_l1_loss_backward(dpred, pred, target, n, beta, scale); }

// The places in the optimizer's state and hyper-parameters, as blas.StateSteps and blas.HyperLR number them.
enum { STEPS, SKIPPED, NORM, CLIP };
enum { LR, WEIGHT_DECAY };

// From the squared gradient norm: state[NORM], and either state[STEPS]++ with the clip factor, or state[SKIPPED]++ with clip 0 where
// the norm is not finite. Launch: one warp, of which one thread works.
extern "C" __global__ void prepare_step(float *state, const float *sum_squares, float max_norm) {
	if (threadIdx.x) return;
	float norm = sqrtf(sum_squares[0]);
	state[NORM] = norm;
	if (!(norm <= 3.4028234e38f)) {
		state[SKIPPED] += 1;
		state[CLIP] = 0;
		return;
	}
	state[STEPS] += 1;
	float clip = max_norm / (norm + 1e-6f);
	state[CLIP] = max_norm > 0 && clip < 1 ? clip : 1.f;
}

// AdamW (Loshchilov & Hutter, arXiv 1711.05101) over all parameters, laid end to end: gradient clipping, decay, both moments, the update
// and the copy in compute precision in one pass. Segment s covers elements bounds[s] to bounds[s+1]; factors[s] are its factors
// for the learning rate (0 freezes it) and the decay. low is optional. rest1 = 1 - beta1, rest2 = 1 - beta2.
// Launch: up to 16 blocks a multiprocessor, of 256; 2 floats of shared memory. 28 + sizeof(T) bytes a parameter.
template <class T>
__device__ void adamw(float *param, const float *grad, float *m, float *v, T *low, const int *bounds, const float *factors,
                      const float *hyper, const float *state, long long n, int segments, float beta1, float rest1, float beta2, float rest2, float eps) {
	DYNAMIC_SHARED(shared);
	float *corrections = (float *)shared, clip = state[CLIP];
	if (threadIdx.x == 0) {  // in double: 1 - beta^t cancels
		double t = state[STEPS];
		corrections[0] = (float)(1 - pow((double)beta1, t));
		corrections[1] = (float)(1 - pow((double)beta2, t));
	}
	__syncthreads();
	float c1 = corrections[0], c2 = corrections[1];
	bool vector = n % 4 == 0 && aligned(param) && aligned(grad) && aligned(m) && aligned(v) && (!low || aligned(low));
	for (long long i = 4 * place(); i < n; i += 4 * places()) {
		int s = 0;
		for (int hi = segments; hi - s > 1;) {  // the last segment that begins at i or before
			int mid = (s + hi) / 2;
			if (bounds[mid] <= i) s = mid;
			else hi = mid;
		}
		float p[4], g[4], mk[4], vk[4];
		load4(p, param + i, n - i, vector);
		load4(g, grad + i, n - i, vector);
		load4(mk, m + i, n - i, vector);
		load4(vk, v + i, n - i, vector);
		for (int k = 0; k < 4 && i + k < n; k++) {
			while (i + k >= bounds[s + 1]) s++;
			float lr = hyper[LR] * factors[2 * s], wd = hyper[WEIGHT_DECAY] * factors[2 * s + 1];
			if (clip == 0 || lr == 0) continue;
			g[k] *= clip;
			mk[k] = beta1 * mk[k] + rest1 * g[k];
			vk[k] = beta2 * vk[k] + rest2 * g[k] * g[k];
			p[k] = p[k] * (1 - lr * wd) - lr * (mk[k] / c1) / (sqrtf(vk[k] / c2) + eps);
		}
		if (clip != 0) {
			store4(param + i, p, n - i, vector);
			store4(m + i, mk, n - i, vector);
			store4(v + i, vk, n - i, vector);
		}
		if (low) store4(low + i, p, n - i, vector);
	}
}
extern "C" __global__ void adamw_f32(float *param, const float *grad, float *m, float *v, float *low, const int *bounds, const float *factors, const float *hyper, const float *state, long long n, int segments, float beta1, float rest1, float beta2, float rest2, float eps) { adamw(param, grad, m, v, low, bounds, factors, hyper, state, n, segments, beta1, rest1, beta2, rest2, eps); }
extern "C" __global__ void adamw_bf16(float *param, const float *grad, float *m, float *v, bf16 *low, const int *bounds, const float *factors, const float *hyper, const float *state, long long n, int segments, float beta1, float rest1, float beta2, float rest2, float eps) { adamw(param, grad, m, v, low, bounds, factors, hyper, state, n, segments, beta1, rest1, beta2, rest2, eps); }
