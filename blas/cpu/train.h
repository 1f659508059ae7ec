// Losses, the optimizer, and what a matrix product needs around it.

// p: Loss, Stats, Pred, Target; n: R, K, type, target type; f: scale
static void cosine(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t K = n[1];
  float *stats = p[1];
  for_mine(r, n[0]) {
    float x[K], t[K];
    load(x, p[2], r * K, K, n[2]);
    load(t, p[3], r * K, K, n[3]);
    float a = sqrtf(dot(x, x, K)), b = sqrtf(dot(t, t, K));
    a = 1 / (a < 1e-8f ? 1e-8f : a), b = 1 / (b < 1e-8f ? 1e-8f : b);
    for (int64_t c = 0; c < K; c++) x[c] *= a, t[c] *= b;
    stats[3 * r] = dot(x, t, K), stats[3 * r + 1] = a, stats[3 * r + 2] = b;
  }
  meet(me);
  if (me->number) return;
  double sum = 0;
  for (int64_t r = 0; r < n[0]; r++) sum += 1 - stats[3 * r];
  *(float *)p[0] += f[0] * sum;
}

// p: DPred, Stats, Pred, Target; n, f as cosine
static void cosine_backward(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t K = n[1];
  for_mine(r, n[0]) {
    float x[K], t[K], *s = (float *)p[1] + 3 * r;
    load(x, p[2], r * K, K, n[2]);
    load(t, p[3], r * K, K, n[3]);
    for (int64_t c = 0; c < K; c++) x[c] = -(float)f[0] * s[1] * (t[c] * s[2] - s[0] * (x[c] * s[1]));
    save(p[0], r * K, x, K, n[2]);
  }
}

// p: Loss, Pred, Target; n: R, K, type, target type; f: scale, beta
static void smooth(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t K = n[1];
  float beta = f[1], *rows = common(me, n[0] * 4);
  for_mine(r, n[0]) {
    float x[K], t[K], sum = 0;
    load(x, p[1], r * K, K, n[2]);
    load(t, p[2], r * K, K, n[3]);
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < K; c++) {
      float e = fabsf(x[c] - t[c]);
      sum += e < beta ? e * e / (2 * beta) : e - beta / 2;
    }
    rows[r] = sum;
  }
  meet(me);
  if (me->number == 0) {
    double sum = 0;
    for (int64_t r = 0; r < n[0]; r++) sum += rows[r];
    *(float *)p[0] += f[0] * sum;
  }
  leave(me, rows);
}

// p: DPred, Pred, Target; n, f as smooth
static void smooth_backward(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t K = n[1];
  for_mine(r, n[0]) {
    float x[K], t[K];
    load(x, p[1], r * K, K, n[2]);
    load(t, p[2], r * K, K, n[3]);
    for (int64_t c = 0; c < K; c++) {
      float e = (x[c] - t[c]) / (float)f[1];
      x[c] = (float)f[0] * (e < -1 ? -1 : e > 1 ? 1 : e);
    }
    save(p[0], r * K, x, K, n[2]);
  }
}

// p: Out, X; n: length. Sums of 4096 in float32, added in double in order.
static void sumsq(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t blocks = (n[0] + 4095) / 4096;
  float *part = common(me, blocks * 4);
  for_mine(b, blocks) {
    const float *x = (float *)p[1] + b * 4096;
    part[b] = dot(x, x, n[0] - b * 4096 < 4096 ? n[0] - b * 4096 : 4096);
  }
  meet(me);
  if (me->number == 0) {
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++) sum += part[b];
    *(float *)p[0] = sum;
  }
  leave(me, part);
}

// p: State (steps, skipped, norm, clip), SumSq; f: largest norm
static void prepare(const thread *me, void **p, const int64_t *n, const double *f) {
  if (me->number) return;
  float *state = p[0];
  double norm = sqrt(*(float *)p[1]), clip = f[0] / (norm + 1e-6);
  int ok = isfinite(norm);
  state[2] = norm;
  state[!ok] += 1;
  state[3] = !ok ? 0 : f[0] > 0 && clip < 1 ? clip : 1;
}

struct adamw { float clip, b1, r1, b2, r2, decay, step, root, eps; };

// adamw_lanes updates one vector of parameters.
static inline void adamw_lanes(float *x, const float *g, float *m, float *v, const struct adamw *c) {
  vec gi = c->clip * *(vec *)g, mi = c->b1 * *(vec *)m + c->r1 * gi, vi = c->b2 * *(vec *)v + c->r2 * gi * gi;
  *(vec *)m = mi, *(vec *)v = vi;
  *(vec *)x = *(vec *)x * c->decay - c->step * mi / (root(vi * c->root) + c->eps);
}

static void adamw_some(float *x, const float *g, float *m, float *v, int64_t n, const struct adamw *c) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) adamw_lanes(x + i, g + i, m + i, v + i, c);
  if (i == n) return;
  float end[4][LANES] = {0};
  int64_t bytes = (n - i) * 4;
  memcpy(end[0], x + i, bytes), memcpy(end[1], g + i, bytes), memcpy(end[2], m + i, bytes), memcpy(end[3], v + i, bytes);
  adamw_lanes(end[0], end[1], end[2], end[3], c);
  memcpy(x + i, end[0], bytes), memcpy(m + i, end[2], bytes), memcpy(v + i, end[3], bytes);
}

// p: Param, Grad, M, V, Low, Bounds, Factors, Hyper, State; n: length, segments, low type; f: beta1, beta2, eps
static void adamw(const thread *me, void **p, const int64_t *n, const double *f) {
  float *x = p[0], *g = p[1], *m = p[2], *v = p[3], *factors = p[6], *hyper = p[7], *state = p[8];
  struct adamw c = {.clip = state[3], .b1 = f[0], .r1 = 1 - f[0], .b2 = f[1], .r2 = 1 - f[1], .root = 1 / (1 - pow(f[1], state[0])), .eps = f[2]};
  for (int64_t s = 0; s < n[1]; s++) {
    int64_t first = ((int32_t *)p[5])[s], end = ((int32_t *)p[5])[s + 1];
    double lr = (double)hyper[0] * factors[2 * s], wd = (double)hyper[1] * factors[2 * s + 1];
    c.decay = 1 - lr * wd, c.step = lr / (1 - pow(f[0], state[0]));
    int frozen = c.clip == 0 || lr == 0;
    if (frozen && !p[4]) continue;
    for_mine(block, ceiling(end - first, CHUNK)) {
      int64_t i = first + block * CHUNK, k = least(end - i, CHUNK);
      if (!frozen) adamw_some(x + i, g + i, m + i, v + i, k, &c);
      if (p[4]) save(p[4], i, x + i, k, n[2]);
    }
  }
}

// p: Avg, Param; n: length; f: decay
static void ema(const thread *me, void **p, const int64_t *n, const double *f) {
  float *a = p[0], *x = p[1], d = f[0], e = 1 - f[0];
  for_mine(i, n[0]) a[i] = d * a[i] + e * x[i];
}

// p: C, product (f32), Bias, Aux, Residual, Keep (of the residual epilogue); n: m, n, epilogue, accumulate, C's type, compute type, rows per
// factor, number of the first row
static void epilogue(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t N = n[1];
  for_mine(r, n[0]) {
    const float *src = (float *)p[1] + r * N, *bias = p[2];
    float x[CHUNK], y[CHUNK], keep = p[5] ? ((float *)p[5])[(n[7] + r) / n[6]] : 1;
    for (int64_t c = 0; c < N; c += CHUNK) {
      int64_t m = N - c < CHUNK ? N - c : CHUNK, at = r * N + c;
      if (bias) for (int64_t i = 0; i < m; i++) x[i] = src[c + i] + bias[c + i];
      else memcpy(x, src + c, m * 4);
      if (n[2] == 2) { // bias+gelu, of Aux as stored
        save(p[3], at, x, m, n[5]);
        load(x, p[3], at, m, n[5]);
        for (int64_t i = 0; i < m; i += LANES) *(vec *)(x + i) = gelu(*(vec *)(x + i));
      } else if (n[2] == 3) {
        load(y, p[3], at, m, n[5]);
        for (int64_t i = 0; i < m; i += LANES) *(vec *)(x + i) *= gelu_grad(*(vec *)(y + i));
      } else if (n[2] == 4) {
        const float *residual = (float *)p[4] + at;
        if (keep == 0) memcpy(x, residual, m * 4);
        else for (int64_t i = 0; i < m; i++) x[i] = residual[i] + keep * x[i];
      } else if (n[3]) {
        load(y, p[0], at, m, n[4]);
        for (int64_t i = 0; i < m; i++) x[i] += y[i];
      }
      save(p[0], at, x, m, n[4]);
    }
  }
}

// p: ColSum, A; n: m, k, transA, type
static void colsum(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t m = n[0], k = n[1];
  float *out = p[0];
  for_mine(block, ceiling(m, 64)) {
    int64_t lo = block * 64, w = least(m - lo, 64);
    float sum[64] = {0}, x[CHUNK];
    if (n[2]) for (int64_t r = 0; r < k; r++) {
      load(x, p[1], r * m + lo, w, n[3]);
      for (int64_t i = 0; i < w; i++) sum[i] += x[i];
    }
    else for (int64_t i = 0; i < w; i++)
      for (int64_t c = 0; c < k; c += CHUNK) {
        int64_t q = k - c < CHUNK ? k - c : CHUNK;
        load(x, p[1], (lo + i) * k + c, q, n[3]);
        for (int64_t j = 0; j < q; j++) sum[i] += x[j];
      }
    for (int64_t i = 0; i < w; i++) out[lo + i] += sum[i];
  }
}
