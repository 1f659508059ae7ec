// Attention: one sample and head at a time, its N x N matrix in the second-level cache, arithmetic in float32.

// head_load copies column block `col` of sample rows into [N, w] float32, zero beyond d; transposed to [d, w] on request.
static void head_load(float *dst, const void *src, int64_t row, int64_t width, int64_t col, int64_t n, int64_t d, int64_t w,
    int transposed, float scale, int t) {
  float x[d];
  memset(dst, 0, (transposed ? d : n) * w * 4);
  for (int64_t i = 0; i < n; i++) {
    load(x, src, (row + i) * width + col, d, t);
    for (int64_t c = 0; c < d; c++) dst[transposed ? c * w + i : i * w + c] = x[c] * scale;
  }
}

static void head_save(void *dst, int64_t row, int64_t width, int64_t col, int64_t n, int64_t d, int64_t w, const float *src, int t) {
  for (int64_t i = 0; i < n; i++) save(dst, (row + i) * width + col, src + i * w, d, t);
}

// p: Out, LSE, QKV, Bias; n: B, N, heads, d, type; f: scale
static void attention(void **p, const int64_t *n, const double *f) {
  int64_t N = n[1], H = n[2], d = n[3], D = H * d, w = (d + LANES - 1) / LANES * LANES, W = (N + LANES - 1) / LANES * LANES;
#pragma omp parallel
  {
    float *q = scratch((2 * N * w + d * W + N * W + N * w) * 4), *v = q + N * w, *o = v + N * w, *kt = o + N * w, *s = kt + d * W;
#pragma omp for schedule(static)
    for (int64_t bh = 0; bh < n[0] * H; bh++) {
      int64_t row = bh / H * N, h = bh % H;
      head_load(q, p[2], row, 3 * D, h * d, N, d, w, 0, f[0], n[4]);
      head_load(kt, p[2], row, 3 * D, D + h * d, N, d, W, 1, 1, n[4]);
      head_load(v, p[2], row, 3 * D, 2 * D + h * d, N, d, w, 0, 1, n[4]);
      product(N, W, d, q, w, 1, kt, W, s, W, 0);
      for (int64_t i = 0; i < N; i++) {
        float *x = s + i * W, top = -INFINITY, sum = 0;
        if (p[3]) for (int64_t j = 0; j < N; j++) x[j] += ((float *)p[3])[(h * N + i) * N + j];
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < N; j++) top = x[j] > top ? x[j] : top;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < N; j++) { x[j] = exponential(x[j] - top); sum += x[j]; }
        for (int64_t j = 0; j < N; j++) x[j] /= sum;
        ((float *)p[1])[bh * N + i] = top + logf(sum);
      }
      product(N, w, N, s, W, 1, v, w, o, w, 0);
      head_save(p[0], row, D, h * d, N, d, w, o, n[4]);
    }
    free(q);
  }
}

// p: DQKV, DBias, DOut, Out, LSE, QKV, Bias; n and f as attention. A thread owns whole heads, so that sums over samples
// keep one order.
static void attention_backward(void **p, const int64_t *n, const double *f) {
  int64_t N = n[1], H = n[2], d = n[3], D = H * d, w = (d + LANES - 1) / LANES * LANES, W = (N + LANES - 1) / LANES * LANES;
#pragma omp parallel
  {
    float *q = scratch((5 * N * w + 2 * d * W + 2 * N * W) * 4), *k = q + N * w, *go = k + N * w, *o = go + N * w, *g = o + N * w;
    float *kt = g + N * w, *vt = kt + d * W, *s = vt + d * W, *ds = s + N * W;
#pragma omp for schedule(static)
    for (int64_t h = 0; h < H; h++)
      for (int64_t b = 0; b < n[0]; b++) {
        int64_t row = b * N, col = h * d;
        head_load(q, p[5], row, 3 * D, col, N, d, w, 0, f[0], n[4]);
        head_load(k, p[5], row, 3 * D, D + col, N, d, w, 0, 1, n[4]);
        head_load(kt, p[5], row, 3 * D, D + col, N, d, W, 1, 1, n[4]);
        head_load(vt, p[5], row, 3 * D, 2 * D + col, N, d, W, 1, 1, n[4]);
        head_load(go, p[2], row, D, col, N, d, w, 0, 1, n[4]);
        head_load(o, p[3], row, D, col, N, d, w, 0, 1, n[4]);
        product(N, W, d, q, w, 1, kt, W, s, W, 0);
        product(N, W, d, go, w, 1, vt, W, ds, W, 0);
        for (int64_t i = 0; i < N; i++) {
          float *x = s + i * W, *y = ds + i * W, delta = dot(go + i * w, o + i * w, d), l = ((float *)p[4])[(b * H + h) * N + i];
          if (p[6]) for (int64_t j = 0; j < N; j++) x[j] += ((float *)p[6])[(h * N + i) * N + j];
          for (int64_t j = 0; j < N; j++) { x[j] = exponential(x[j] - l); y[j] = x[j] * (y[j] - delta); }
          if (p[1]) for (int64_t j = 0; j < N; j++) ((float *)p[1])[(h * N + i) * N + j] += y[j];
        }
        product(N, w, N, s, 1, W, go, w, g, w, 0);
        head_save(p[0], row, 3 * D, 2 * D + col, N, d, w, g, n[4]);
        product(N, w, N, ds, 1, W, q, w, g, w, 0); // q carries the scale
        head_save(p[0], row, 3 * D, D + col, N, d, w, g, n[4]);
        product(N, w, N, ds, W, 1, k, w, g, w, 0);
        for (int64_t i = 0; i < N * w; i++) g[i] *= f[0];
        head_save(p[0], row, 3 * D, col, N, d, w, g, n[4]);
      }
    free(q);
  }
}
