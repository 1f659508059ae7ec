// Sums in a fixed order: each block leaves a partial sum in scratch memory, a second kernel adds those up.
#include "device.cuh"

// out[j] += sum over r of partial[r,j], r < rows. Columns 0 to cols0-1 go to out0, the next cols1 to out1.
// Launch: 1 block of 256 for 32 columns: 8 warps take every eighth row. 256 floats of shared memory.
extern "C" __global__ void add_rows(float *out0, float *out1, const float *partial, int rows, long long cols0, long long cols1) {
	DYNAMIC_SHARED(shared);
	float *part = (float *)shared;
	long long col = (long long)blockIdx.x * WARP + lane(), cols = cols0 + cols1;
	float sum = 0;
	if (col < cols)
		for (int r = threadIdx.x / WARP; r < rows; r += blockDim.x / WARP) sum += partial[r * cols + col];
	part[threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.x >= WARP || col >= cols) return;
	for (unsigned w = 1; w < blockDim.x / WARP; w++) sum += part[w * WARP + threadIdx.x];
	if (col < cols0) out0[col] += sum;
	else out1[col - cols0] += sum;
}

// partial[z,y,j] = sum over the rows of block row y of a[r,j], or with index of a[index[z,r],j]; index [blocks along z, rows], a of cols columns.
// The bias gradient where cuBLASLt does not give it, and sums of rows that are named.
// Launch: (cols/256, up to 64, 1 or more) blocks of 256, each thread a column. Moves what it adds up once.
template <class T> __device__ void column_sums(float *partial, const T *a, const int *index, int rows, int cols) {
	int col = blockIdx.x * blockDim.x + threadIdx.x;
	if (col >= cols) return;
	if (index) index += (long long)blockIdx.z * rows;
	float sum = 0;
	for (int r = blockIdx.y; r < rows; r += gridDim.y) sum += widen(a[(long long)(index ? index[r] : r) * cols + col]);
	partial[((long long)blockIdx.z * gridDim.y + blockIdx.y) * cols + col] = sum;
}
extern "C" __global__ void column_sums_f32(float *partial, const float *a, const int *index, int rows, int cols) { column_sums(partial, a, index, rows, cols); }
extern "C" __global__ void column_sums_bf16(float *partial, const bf16 *a, const int *index, int rows, int cols) { column_sums(partial, a, index, rows, cols); }

// out[z,j] = sum over y of column_sums' partial[z,y,j], y < parts, or += that to accumulate. Launch: (cols/256, rows of out) blocks of 256, each
// thread a column.
template <class T> __device__ void finish_rows(T *out, const float *partial, int parts, int cols, int accumulate) {
	int col = blockIdx.x * blockDim.x + threadIdx.x;
	if (col >= cols) return;
	out += (long long)blockIdx.y * cols, partial += (long long)blockIdx.y * parts * cols;
	float sum = accumulate ? widen(out[col]) : 0.f;
	for (int y = 0; y < parts; y++) sum += partial[(long long)y * cols + col];
	narrow(out + col, sum);
}
extern "C" __global__ void finish_rows_f32(float *out, const float *partial, int parts, int cols, int accumulate) { finish_rows(out, partial, parts, cols, accumulate); }
extern "C" __global__ void finish_rows_bf16(bf16 *out, const float *partial, int parts, int cols, int accumulate) { finish_rows(out, partial, parts, cols, accumulate); }

// out[r] += sum of row r of a [rows, cols]. Launch: a warp a row, 8 rows a block.
template <class T> __device__ void row_sums(float *out, const T *a, int rows, int cols) {
	int r = warp_row();
	if (r >= rows) return;
	float sum = 0;
	for (int c = lane(); c < cols; c += WARP) sum += widen(a[(long long)r * cols + c]);
	sum = warp_sum(sum);
	if (lane() == 0) out[r] += sum;
}
extern "C" __global__ void row_sums_f32(float *out, const float *a, int rows, int cols) { row_sums(out, a, rows, cols); }
extern "C" __global__ void row_sums_bf16(float *out, const bf16 *a, int rows, int cols) { row_sums(out, a, rows, cols); }

// partial[block] = sum of x² over the block's share. Launch: up to 1024 blocks of 256; 32 floats of shared memory. Moves x once.
extern "C" __global__ void sum_squares(float *partial, const float *x, long long n) {
	DYNAMIC_SHARED(shared);
	bool vector = aligned(x) && n % 4 == 0;
	float sum = 0;
	for (long long i = 4 * place(); i < n; i += 4 * places()) {
		float v[4];
		load4(v, x + i, n - i, vector);
		for (int k = 0; k < 4; k++) sum += v[k] * v[k];
	}
	sum = block_sum(sum, (float *)shared);
	if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// out[0] = before·out[0] + scale·sum of partial; before is 0 or 1, and out is not read where it is 0. Launch: one block of 256; 32
// floats of shared memory.
extern "C" __global__ void finish_sum(float *out, const float *partial, int n, float scale, int before) {
	DYNAMIC_SHARED(shared);
	float sum = 0;
	for (int i = threadIdx.x; i < n; i += blockDim.x) sum += partial[i];
	sum = scale * block_sum(sum, (float *)shared);
	if (threadIdx.x == 0) out[0] = before ? out[0] + sum : sum;
}
