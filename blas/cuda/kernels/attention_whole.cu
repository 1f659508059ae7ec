// Attention's backward where one block holds a whole head: five products, every operand read once, every sum in one place (FlashAttention-2,
// arXiv 2307.08691, with all keys in one block in place of atomic additions to dq). For heads of 64 numbers, at most 208 tokens, and a
// multiprocessor with the shared memory: 197 tokens with a bias take 224 KiB, which compute capability 9.0 has and 8.0 has not.
#include "tile.cuh"

constexpr int D = 64, TOKENS = 13 * STRIP;  // of a head: its numbers, its tokens at most
constexpr int PAIR = 2;                     // strips of keys that a warp owns
constexpr int PART = 32, SIDE = PART * D;   // queries between two barriers, and the numbers of a tile of them
constexpr int FRAGMENT = 4 * WARP;          // numbers of an mma result: 16 keys by 8 queries, a quad a lane

// Head is the shared memory of one head: whole rows of k, the rows of q and dout of two parts in turn, dSᵀ of a part with keys as rows, and v
// before the second part is there. The sums of dS lie behind it.
struct Head {
	float stats[2 * 7 * PART];  // lse and delta of each query
	bf16 k[TOKENS * D], q[SIDE], dout[SIDE];
	union {
		bf16 v[TOKENS * D];
		struct { bf16 other[2 * SIDE], ds[TOKENS * PART]; };
	};
};
static_assert(sizeof(Head) == 63232, "as attention.go has it");

// at is where column c of row r lies in a tile of W = 32 or 64 numbers a row: without padding, groups of 8 numbers change places so that the 8
// addresses of a matrix load fall on different banks.
template <int W> __device__ __forceinline__ int at(int r, int c) { return r * W + (c / 8 ^ (W == 64 ? r % 8 : r / 2 % 4)) * 8 + c % 8; }

// load_rows copies rows first to first+rows-1 of x, D numbers each, into a tile, those behind n as 0. The copies are under way when it returns:
// commit_copies and wait_copies end them, a barrier shows them to others.
__device__ __forceinline__ void load_rows(bf16 *tile, const bf16 *x, int row, int first, int rows, int n) {
#pragma unroll 1
	for (int t = threadIdx.x; t < rows * (D / 8); t += blockDim.x) {
		int r = t / (D / 8), c = t % (D / 8) * 8;
		bool inside = first + r < n;
		copy_async(tile + at<D>(r, c), x + (inside ? (first + r) * row + c : 0), inside);
	}
}

// left is a strip of 16 rows from r0 as left operands, all D columns.
__device__ __forceinline__ void left(unsigned a[D / 16][4], const bf16 *tile, int r0) {
	Place p = place_of(tile + at<D>(r0 + lane() % 16, lane() / 16 * 8));
#pragma unroll
	for (int k = 0; k < D; k += 16) load_matrices(a[k / 16], p ^ 2 * k);
}

// times_rows is c = values·(rows r0 to r0+7 of x)ᵀ for the strips of a pair, both of them or the first: [16, 8] each.
__device__ __forceinline__ void times_rows(float c[PAIR][4], const unsigned values[PAIR][D / 16][4], const bf16 *x, int r0, bool both) {
	Place p = place_of(x + at<D>(r0 + lane() % 8, lane() / 8 * 8));
#pragma unroll
	for (int k = 0; k < D; k += 32) {
		unsigned b[4];
		load_matrices(b, p ^ 2 * k);
#pragma unroll
		for (int m = 0; m < PAIR; m++) {
			if (m && !both) continue;
			multiply_add(c[m], values[m][k / 16], b[0], b[1]);
			multiply_add(c[m], values[m][k / 16 + 1], b[2], b[3]);
		}
	}
}

// scores is s = (a pair's rows of k, from j0)·(rows i to i+15 of q)ᵀ by columns of 8 queries. Unlike v's, k's operands are read anew: registers do
// not suffice for both.
__device__ __forceinline__ void scores(float s[2][PAIR][4], const bf16 *k, int j0, const bf16 *q, int i, bool both) {
	Place from = place_of(k + at<D>(j0 + lane() % 16, lane() / 16 * 8)), to = place_of(q + at<D>(i + lane() / 16 * 8 + lane() % 8, lane() / 8 % 2 * 8));
#pragma unroll
	for (int c = 0; c < D; c += 16) {
		unsigned a[4], b[4];
		load_matrices(b, to ^ 2 * c);
#pragma unroll
		for (int m = 0; m < PAIR; m++) {
			if (m && !both) continue;
			load_matrices(a, (from ^ 2 * c) + m * STRIP * D * 2);
			multiply_add(s[0][m], a, b[0], b[1]);
			multiply_add(s[1][m], a, b[2], b[3]);
		}
	}
}

// add_rows_times is sum += a·(rows r0 to r0+15 of x) for the strips of a pair; a [16, 16] each, as left operands.
__device__ __forceinline__ void add_rows_times(float sum[PAIR][D / 8][4], const unsigned a[PAIR][4], const bf16 *x, int r0, bool both) {
	Place p = place_of(x + at<D>(r0 + lane() % 16, lane() / 16 * 8));
#pragma unroll
	for (int k = 0; k < D; k += 16) {
		unsigned b[4];
		load_matrices_transposed(b, p ^ 2 * k);
#pragma unroll
		for (int m = 0; m < PAIR; m++) {
			if (m && !both) continue;
			multiply_add(sum[m][k / 8], a[m], b[0], b[1]);
			multiply_add(sum[m][k / 8 + 1], a[m], b[2], b[3]);
		}
	}
}

// fragments[h, warp, t, m, lane] = the biases of the warp's strip m of keys and queries 8t to 8t+7 as an mma result has them; -inf behind the
// last key and query, 0 where there is no bias. bias [heads, n, n]; t below 2·strips.
// Launch: a warp a fragment, (strips²/4, heads) blocks of 256. Moves 8 bytes a pair of tokens, once for all samples.
extern "C" __global__ void attention_bias_fragments(float *fragments, const float *bias, int n) {
	int strips = (n + STRIP - 1) / STRIP, all = (strips + 1) / PAIR * 2 * strips * PAIR, f = warp_row(), h = blockIdx.y;
	if (f >= all) return;
	int key = (f / (2 * strips * PAIR) * PAIR + f % PAIR) * STRIP + lane() / 4, query = f / PAIR % (2 * strips) * 8 + 2 * (lane() % 4);
	float v[4];
	for (int e = 0; e < 4; e++) {
		int i = query + e % 2, j = key + e / 2 * 8;
		v[e] = i < n && j < n ? 0.f : minus_infinity();
		if (bias && i < n && j < n) v[e] = bias[((long long)h * n + i) * n + j];
	}
	store_quad(fragments + ((long long)h * all + f) * FRAGMENT + 4 * lane(), v);
}

// dq = dS·k·scale, dk = dSᵀ·q·scale, dv = Pᵀ·dout, and where there is partial, partial[z,h] = sum of dS over the samples of group z, [n, n]
// float32; add_rows adds the groups up. Sample b belongs to group b%groups. Scores are computed transposed, keys as rows: a warp's 32 keys stay
// in registers with their dk and dv, queries go by in parts of 32. dSᵀ of a part passes through shared memory to the warps that sum dq. A
// sample whose keep is 0, where there is keep, is left out: its gradients are 0.
// Launch: (heads, groups) blocks of a warp for 32 keys, one block a multiprocessor; a Head of shared memory, and 512 bytes for each fragment of
// sums where there is partial. All that is bf16 begins at a multiple of 16 bytes. Moves qkv, dout, out and dqkv once, and the bias from the second-level cache; 10·n²·d
// operations a head and sample. 16 keys by 16 queries take 40 mma and 12 KiB of shared memory: 18 matrix loads, dS, its sum read and written.
extern "C" __global__ void __launch_bounds__(224, 1) attention_backward_whole(bf16 *dqkv, float *partial, const bf16 *dout, const bf16 *out, const float *lse, const bf16 *qkv, const float *fragments, const float *keep, int samples, int n, int heads, float scale) {
	DYNAMIC_SHARED(shared);
	int h = blockIdx.x, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
	int strips = (n + STRIP - 1) / STRIP, eights = (n + 7) / 8, j0 = warp * PAIR * STRIP;
	bool both = PAIR * warp + 1 < strips;
	Head &x = *(Head *)shared;
	float *sums = (float *)(&x + 1);  // by fragments, each owned by one warp
	int width = heads * D, row = 3 * width;
	if (partial) fragments += (strips + 1) / PAIR * PAIR * 2ll * strips * FRAGMENT * h;
	for (int f = warp * PAIR * eights; partial && f < min((warp + 1) * PAIR, strips) * eights; f++) {
		float zero[4] = {};
		store_quad(sums + f * FRAGMENT + 4 * lane(), zero);
	}
	for (int b = blockIdx.y; b < samples; b += gridDim.y) {
		const bf16 *q = qkv + (long long)b * n * row + h * D, *go = dout + (long long)b * n * width + h * D, *o = out + (go - dout);
		bf16 *to = dqkv + (q - qkv);
		if (keep && keep[b] == 0) {
			for (int t = threadIdx.x; t < n * (3 * D / 8); t += blockDim.x) {
				int part = t % (3 * D / 8);
				*(Quad32 *)(to + t / (3 * D / 8) * row + part / (D / 8) * width + part % (D / 8) * 8) = {};
			}
			continue;
		}
		load_rows(x.k, q + width, row, 0, strips * STRIP, n);
		load_rows(x.v, q + 2 * width, row, 0, strips * STRIP, n);
		load_rows(x.q, q, row, 0, PART, n);
		load_rows(x.dout, go, width, 0, PART, n);
		commit_copies();
		for (int t = threadIdx.x; t < (n + PART - 1) / PART * PART * (D / 8); t += blockDim.x) {  // delta = dout·out, 8 lanes a row
			int i = t / (D / 8), c = t % (D / 8) * 8;
			float delta = 0;
#pragma unroll
			for (int k = 0; k < 8 && i < n; k += 4) {
				float u[4], w[4];
				load_quad(u, go + i * width + c + k);
				load_quad(w, o + i * width + c + k);
				delta += (u[0] * w[0] + u[1] * w[1]) + (u[2] * w[2] + u[3] * w[3]);
			}
#pragma unroll
			for (int k = 1; k < D / 8; k *= 2) delta += __shfl_xor_sync(ALL, delta, k);
			if (c == 0) x.stats[2 * i] = i < n ? lse[((long long)b * heads + h) * n + i] : 0.f, x.stats[2 * i + 1] = delta;
		}
		wait_copies();
		__syncthreads();
		unsigned values[PAIR][D / 16][4];
#pragma unroll
		for (int m = 0; m < PAIR; m++) {
			if (m && !both) continue;
			left(values[m], x.v, j0 + m * STRIP);
		}
		__syncthreads();
		float dk[PAIR][D / 8][4] = {}, dv[PAIR][D / 8][4] = {};
#pragma unroll 1
		for (int i0 = 0; i0 < n; i0 += PART) {
			const bf16 *tq = x.q + i0 / PART % 2 * 2 * SIDE, *tg = tq + SIDE;
			if (i0 + PART < n) {
				bf16 *next = x.q + (i0 / PART + 1) % 2 * 2 * SIDE;
				load_rows(next, q, row, i0 + PART, PART, n);
				load_rows(next + SIDE, go, width, i0 + PART, PART, n);
			}
			commit_copies();
#pragma unroll 1
			for (int i = 0; i < PART && i0 + i < n; i += STRIP) {
				unsigned p[PAIR][4], g[PAIR][4];  // Pᵀ and dSᵀ as left operands
				float s[2][PAIR][4] = {};
				scores(s, x.k, j0, tq, i, both);
#pragma unroll
				for (int half = 0; half < 2; half++) {
					float ds[PAIR][4] = {};
					times_rows(ds, values, tg, i + 8 * half, both);
					int first = i0 + i + 8 * half;
					float of[4];  // lse and delta of the lane's two queries
					load_quad(of, x.stats + 2 * first + 4 * (lane() % 4));
#pragma unroll
					for (int m = 0; m < PAIR; m++) {
						if (m && !both) continue;
						float v[4];
						load_quad(v, fragments + ((warp * 2 * strips + first / 8) * PAIR + m) * FRAGMENT + 4 * lane());
#pragma unroll
						for (int e = 0; e < 4; e++) {
							s[half][m][e] = __expf(s[half][m][e] * scale + v[e] - of[e % 2 * 2]);
							ds[m][e] = s[half][m][e] * (ds[m][e] - of[e % 2 * 2 + 1]);
						}
						if (partial && first < n) {
							float *sum = sums + (warp * PAIR * eights + first / 8 * (both ? PAIR : 1) + m) * FRAGMENT + 4 * lane();
							load_quad(v, sum);
#pragma unroll
							for (int e = 0; e < 4; e++) v[e] += ds[m][e];
							store_quad(sum, v);
						}
#pragma unroll
						for (int k = 0; k < 2; k++) {  // keys lane/4 and 8 further
							p[m][2 * half + k] = pack_bf16(s[half][m][2 * k], s[half][m][2 * k + 1]);
							g[m][2 * half + k] = pack_bf16(ds[m][2 * k], ds[m][2 * k + 1]);
							*(unsigned *)(x.ds + at<PART>(j0 + m * STRIP + lane() / 4 + 8 * k, i + 8 * half + 2 * (lane() % 4))) = g[m][2 * half + k];
						}
					}
				}
				add_rows_times(dv, p, tg, i, both);
				add_rows_times(dk, g, tq, i, both);
			}
			__syncthreads();
#pragma unroll 1
			for (int u = warp; u < 4; u += warps) {  // 16 queries, half of the columns of dq
				int i = u / 2 * STRIP, c = u % 2 * (D / 2);
				if (i0 + i >= n) continue;
				float sum[D / 16][4] = {};
#pragma unroll 1
				for (int j = 0; j < strips * STRIP; j += STRIP) {
					unsigned a[4], k[4];
					load_matrices_transposed(a, place_of(x.ds + at<PART>(j + lane() / 16 * 8 + lane() % 8, i + lane() / 8 % 2 * 8)));
#pragma unroll
					for (int e = 0; e < D / 16; e += 2) {
						load_matrices_transposed(k, place_of(x.k + at<D>(j + lane() % 16, c + 8 * e + lane() / 16 * 8)));
						multiply_add(sum[e], a, k[0], k[1]);
						multiply_add(sum[e + 1], a, k[2], k[3]);
					}
				}
				store_strip<D / 2>(to + c, row, i0 + i, n, D / 2, sum, scale, scale);
			}
			wait_copies();
			__syncthreads();
		}
#pragma unroll
		for (int m = 0; m < PAIR; m++) {
			if (m && !both) continue;
			store_strip<D>(to + width, row, j0 + m * STRIP, n, D, dk[m], scale, scale);
			store_strip<D>(to + 2 * width, row, j0 + m * STRIP, n, D, dv[m], 1, 1);
		}
	}
	if (!partial) return;
	partial += ((long long)blockIdx.y * heads + h) * n * n;
	int own = both ? PAIR : 1;
	for (int f = 0; f < own * eights; f++) {
		float v[4];
		load_quad(v, sums + (warp * PAIR * eights + f) * FRAGMENT + 4 * lane());
		for (int e = 0; e < 4; e++) {
			int i = f / own * 8 + 2 * (lane() % 4) + e % 2, j = j0 + f % own * STRIP + lane() / 4 + e / 2 * 8;
			if (i < n && j < n) partial[(long long)i * n + j] = v[e];
		}
	}
}
