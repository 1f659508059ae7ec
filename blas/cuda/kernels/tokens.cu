// From pixels to the residual stream and back: patches, tokens, rows taken and put by index.
#include "device.cuh"

// dst[b·g²+i, (c·p+y)·p+x] = (pixel/255 - mean[c])/std[c]: patch i (raster order) of image b, in the order of a convolution kernel.
// With index, dst[r] is patch index[r] of all. pixels [images, size, size, 3]; g = size/p. Launch: a block of 256 a patch. 1 + sizeof(T) bytes a
// number.
template <class T>
__device__ void patches(T *dst, const unsigned char *pixels, const int *index, int size, int p, float mean0, float mean1, float mean2, float std0, float std1, float std2) {
	int g = size / p, n = 3 * p * p, which = index ? index[blockIdx.x] : blockIdx.x, b = which / (g * g), i = which % (g * g);
	const unsigned char *corner = pixels + (((long long)b * size + i / g * p) * size + i % g * p) * 3;
	dst += (long long)blockIdx.x * n;
	for (int k = threadIdx.x; k < n; k += blockDim.x) {
		int c = k / (p * p), y = k / p % p, x = k % p;
		float mean = c == 0 ? mean0 : c == 1 ? mean1 : mean2, std = c == 0 ? std0 : c == 1 ? std1 : std2;
		narrow(dst + k, (corner[((long long)y * size + x) * 3 + c] / 255.f - mean) / std);
	}
}
extern "C" __global__ void patches_f32(float *dst, const unsigned char *pixels, const int *index, int size, int p, float mean0, float mean1, float mean2, float std0, float std1, float std2) { patches(dst, pixels, index, size, p, mean0, mean1, mean2, std0, std1, std2); }
extern "C" __global__ void patches_bf16(bf16 *dst, const unsigned char *pixels, const int *index, int size, int p, float mean0, float mean1, float mean2, float std0, float std1, float std2) { patches(dst, pixels, index, size, p, mean0, mean1, mean2, std0, std1, std2); }

// x[b,0] = cls, x[b,1+i] = mask_token where mask[b,i], else embed[b,i]; plus pos[i] where there is pos. x [rows/n, n, d].
// Launch: a warp a row, 8 rows a block. 4 + sizeof(T) bytes a number.
template <class T>
__device__ void tokens(float *x, const T *embed, const float *cls, const float *mask_token, const float *pos, const unsigned char *mask, int rows, int n, int d) {
	int r = warp_row();
	if (r >= rows) return;
	int b = r / n, i = r % n;
	long long patch = (long long)b * (n - 1) + i - 1;
	bool masked = i > 0 && mask && mask[patch];
	const float *constant = i == 0 ? cls : mask_token;
	for (int c = lane(); c < d; c += WARP) {
		float v = i == 0 || masked ? constant[c] : widen(embed[patch * d + c]);
		if (pos) v += pos[(long long)i * d + c];
		x[(long long)r * d + c] = v;
	}
}
extern "C" __global__ void tokens_f32(float *x, const float *embed, const float *cls, const float *mask_token, const float *pos, const unsigned char *mask, int rows, int n, int d) { tokens(x, embed, cls, mask_token, pos, mask, rows, n, d); }
extern "C" __global__ void tokens_bf16(float *x, const bf16 *embed, const float *cls, const float *mask_token, const float *pos, const unsigned char *mask, int rows, int n, int d) { tokens(x, embed, cls, mask_token, pos, mask, rows, n, d); }

// dembed[b,i] = dx[b,1+i] where not masked, else 0; dpos[i] += sum over b of dx[b,i]; dcls += that of token 0. The mask token's gradient
// of token 1+i, summed over b, goes to partial[i]; add_rows adds those up.
// Launch: (n, d/256) blocks of 256: a block takes one token of every image, a thread one column. 4 + sizeof(T) bytes a number.
template <class T>
__device__ void tokens_backward(T *dembed, float *dcls, float *dpos, float *partial, const float *dx, const unsigned char *mask, int images, int n, int d) {
	int i = blockIdx.x, c = blockIdx.y * blockDim.x + threadIdx.x;
	if (c >= d) return;
	float all = 0, masked = 0;
	for (int b = 0; b < images; b++) {
		float g = dx[((long long)b * n + i) * d + c];
		all += g;
		if (i == 0) continue;
		long long patch = (long long)b * (n - 1) + i - 1;
		bool hidden = mask && mask[patch];
		if (hidden) masked += g;
		narrow(dembed + patch * d + c, hidden ? 0.f : g);
	}
	if (dpos) dpos[(long long)i * d + c] += all;
	if (i == 0) dcls[c] += all;
	else partial[(long long)(i - 1) * d + c] = masked;
}
extern "C" __global__ void tokens_backward_f32(float *dembed, float *dcls, float *dpos, float *partial, const float *dx, const unsigned char *mask, int images, int n, int d) { tokens_backward(dembed, dcls, dpos, partial, dx, mask, images, n, d); }
extern "C" __global__ void tokens_backward_bf16(bf16 *dembed, float *dcls, float *dpos, float *partial, const float *dx, const unsigned char *mask, int images, int n, int d) { tokens_backward(dembed, dcls, dpos, partial, dx, mask, images, n, d); }

// One row of bytes, copied by a warp in units of U.
template <class U> __device__ __forceinline__ void copy_row(unsigned char *dst, const unsigned char *src, int bytes) {
	for (int c = lane(); c < bytes / (int)sizeof(U); c += WARP) ((U *)dst)[c] = ((const U *)src)[c];
}
__device__ __forceinline__ void copy_row_bytes(unsigned char *dst, const unsigned char *src, int bytes) {
	unsigned long long all = (unsigned long long)dst | (unsigned long long)src | bytes;
	if (all % 16 == 0) copy_row<Quad32>(dst, src, bytes);
	else if (all % 4 == 0) copy_row<unsigned>(dst, src, bytes);
	else if (all % 2 == 0) copy_row<unsigned short>(dst, src, bytes);
	else copy_row<unsigned char>(dst, src, bytes);
}

// dst[r] = src[index[r]], rows of some bytes. Launch: a warp a row, 8 rows a block. Two bytes a byte.
extern "C" __global__ void gather_rows(unsigned char *dst, const unsigned char *src, const int *index, int rows, int bytes) {
	int r = warp_row();
	if (r < rows) copy_row_bytes(dst + (long long)r * bytes, src + (long long)index[r] * bytes, bytes);
}

// dst[index[r]] = src[r]; the launcher has cleared dst. Launch as gather_rows.
extern "C" __global__ void scatter_rows(unsigned char *dst, const unsigned char *src, const int *index, int rows, int bytes) {
	int r = warp_row();
	if (r < rows) copy_row_bytes(dst + (long long)index[r] * bytes, src + (long long)r * bytes, bytes);
}
