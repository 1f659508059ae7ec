// The memory-bound operations. Rows are spread over threads; sums over rows belong to one thread per block of columns, so that
// their order, and with it every bit, depends on nothing.

enum { CHUNK = 1024 }; // elements converted at a time by flat kernels

// p: Dst, Src, Scale; n: rows, columns, dst type, src type, rows per factor
static void cast(const thread *me, void **p, const int64_t *n, const double *f) {
  for_mine(r, n[0]) {
    float s = p[2] ? ((float *)p[2])[r / n[4]] : 1, x[CHUNK];
    for (int64_t c = 0; c < n[1]; c += CHUNK) {
      int64_t m = n[1] - c < CHUNK ? n[1] - c : CHUNK;
      load(x, p[1], r * n[1] + c, m, n[3]);
      if (p[2]) for (int64_t i = 0; i < m; i++) x[i] *= s;
      save(p[0], r * n[1] + c, x, m, n[2]);
    }
  }
}

// p: Dst, Pixels, Index; n: rows, side, patch, type; f: mean[3], std[3]
static void patches(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t S = n[1], k = n[2], g = S / k;
  for_mine(r, n[0]) {
    int64_t i = p[2] ? ((int32_t *)p[2])[r] : r;
    const uint8_t *px = (const uint8_t *)p[1] + ((i / (g * g) * S + i / g % g * k) * S + i % g * k) * 3;
    float x[k];
    for (int64_t c = 0; c < 3; c++)
      for (int64_t y = 0; y < k; y++) {
        for (int64_t j = 0; j < k; j++) x[j] = (px[(y * S + j) * 3 + c] / 255. - f[c]) / f[3 + c];
        save(p[0], r * 3 * k * k + (c * k + y) * k, x, k, n[3]);
      }
  }
}

// p: X, Embed, CLS, MaskToken, Pos, Mask; n: B, N, D, type
static void tokens(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t N = n[1], D = n[2];
  for_mine(r, n[0] * N) {
    int64_t b = r / N, i = r % N, patch = b * (N - 1) + i - 1;
    float *x = (float *)p[0] + r * D;
    if (i == 0) memcpy(x, p[2], D * 4);
    else if (p[5] && ((uint8_t *)p[5])[patch]) memcpy(x, p[3], D * 4);
    else load(x, p[1], patch * D, D, n[3]);
    if (p[4]) for (int64_t c = 0; c < D; c++) x[c] += ((float *)p[4])[i * D + c];
  }
}

// p: DEmbed, DCLS, DMaskToken, DPos, DX, Mask; n as tokens
static void tokens_backward(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t N = n[1], D = n[2];
  for_mine(block, ceiling(D, 64)) {
    int64_t lo = block * 64, m = least(D - lo, 64);
    float cls[64] = {0}, mask[64] = {0}, zero[64] = {0};
    for (int64_t r = 0; r < n[0] * N; r++) {
      int64_t i = r % N, patch = r / N * (N - 1) + i - 1;
      const float *x = (float *)p[4] + r * D + lo;
      int masked = i > 0 && p[5] && ((uint8_t *)p[5])[patch];
      float *sum = i == 0 ? cls : mask;
      if (i == 0 || masked) for (int64_t c = 0; c < m; c++) sum[c] += x[c];
      if (i > 0) save(p[0], patch * D + lo, masked ? zero : x, m, n[3]);
      if (p[3]) for (int64_t c = 0; c < m; c++) ((float *)p[3])[i * D + lo + c] += x[c];
    }
    for (int64_t c = 0; c < m; c++) { ((float *)p[1])[lo + c] += cls[c]; ((float *)p[2])[lo + c] += mask[c]; }
  }
}

// p: Dst, Src, Index; n: rows of Dst, bytes of one row, rows that each adds up or 0 for copies, columns, type, accumulate
static void gather(const thread *me, void **p, const int64_t *n, const double *f) {
  enum { COLUMNS = 128 };
  int64_t terms = n[2], D = n[3], blocks = (D + COLUMNS - 1) / COLUMNS;
  if (!terms) {
    for_mine(r, n[0]) memcpy((char *)p[0] + r * n[1], (char *)p[1] + ((int32_t *)p[2])[r] * n[1], n[1]);
    return;
  }
  for_mine(t, n[0] * blocks) {
    int64_t r = t / blocks, lo = t % blocks * COLUMNS, m = D - lo < COLUMNS ? D - lo : COLUMNS;
    float sum[COLUMNS] = {0}, x[COLUMNS];
    if (n[5]) load(sum, p[0], r * D + lo, m, n[4]);
    for (int64_t i = 0; i < terms; i++) {
      load(x, p[1], ((int32_t *)p[2])[r * terms + i] * D + lo, m, n[4]);
      for (int64_t c = 0; c < m; c++) sum[c] += x[c];
    }
    save(p[0], r * D + lo, sum, m, n[4]);
  }
}

// p: Dst, Src, Index; n: rows of Index, bytes of one row, rows of Dst
static void scatter(const thread *me, void **p, const int64_t *n, const double *f) {
  for_mine(r, n[2]) memset((char *)p[0] + r * n[1], 0, n[1]);
  meet(me);
  for_mine(r, n[0]) memcpy((char *)p[0] + ((int32_t *)p[2])[r] * n[1], (char *)p[1] + r * n[1], n[1]);
}

// p: Y, Mean, Rstd, X, Weight, Bias; n: M, D, type; f: eps
static void norm(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t D = n[1];
  const float *w = p[4], *b = p[5];
  for_mine(r, n[0]) {
    const float *x = (float *)p[3] + r * D;
    float y[D], sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < D; c++) sum += x[c];
    float mean = sum / D;
#pragma omp simd reduction(+ : square)
    for (int64_t c = 0; c < D; c++) square += (x[c] - mean) * (x[c] - mean);
    float rstd = 1 / sqrtf(square / D + (float)f[0]);
    for (int64_t c = 0; c < D; c++) y[c] = (x[c] - mean) * rstd * w[c] + b[c];
    save(p[0], r * D, y, D, n[2]);
    ((float *)p[1])[r] = mean, ((float *)p[2])[r] = rstd;
  }
}

// p: DX, DY, X, Mean, Rstd, Weight, DWeight, DBias, Low, Keep, KeepDY; n: M, D, type, accumulate, rows per factor
static void norm_backward(const thread *me, void **p, const int64_t *n, const double *f) {
  int64_t M = n[0], D = n[1];
  const float *w = p[5], *mean = p[3], *rstd = p[4];
  float *parts = common(me, me->count * 2 * D * 4), *dw = parts + me->number * 2 * D, *db = dw + D, dy[D], hat[D];
  memset(dw, 0, 2 * D * 4);
  for_mine(r, M) { // a thread's sums over its rows are added below in order of the threads
    const float *x = (float *)p[2] + r * D;
    float *dx = (float *)p[0] + r * D, g = 0, gx = 0, m = mean[r], s = rstd[r];
    if (p[10] && !is_live(p[10], r / n[4])) { // DY counts 0
      if (!n[3]) memset(dx, 0, D * 4);
    } else {
      load(dy, p[1], r * D, D, n[2]);
#pragma omp simd reduction(+ : g, gx)
      for (int64_t c = 0; c < D; c++) {
        hat[c] = (x[c] - m) * s;
        dw[c] += dy[c] * hat[c];
        db[c] += dy[c];
        dy[c] *= w[c];
        g += dy[c];
        gx += dy[c] * hat[c];
      }
      g /= D, gx /= D;
      for (int64_t c = 0; c < D; c++) {
        float v = s * (dy[c] - g - hat[c] * gx);
        dx[c] = n[3] ? dx[c] + v : v;
      }
    }
    if (!p[8]) continue;
    float keep = p[9] ? ((float *)p[9])[r / n[4]] : 1;
    for (int64_t c = 0; c < D; c++) dy[c] = dx[c] * keep;
    save(p[8], r * D, dy, D, n[2]);
  }
  meet(me);
  for_mine(c, D)
    for (int t = 0; t < me->count; t++) {
      ((float *)p[6])[c] += parts[t * 2 * D + c];
      ((float *)p[7])[c] += parts[t * 2 * D + D + c];
    }
  leave(me, parts);
}

// p: ScaledWeight, ScaledBias, Weight, Bias, Gamma; n: O, I, type
static void scale(const thread *me, void **p, const int64_t *n, const double *f) {
  for_mine(r, n[0]) {
    float x[n[1]], g = ((float *)p[4])[r];
    for (int64_t c = 0; c < n[1]; c++) x[c] = ((float *)p[2])[r * n[1] + c] * g;
    save(p[0], r * n[1], x, n[1], n[2]);
    ((float *)p[1])[r] = ((float *)p[3])[r] * g;
  }
}

// p: DWeight, DBias, DGamma, Weight, Bias, Gamma; n: O, I
static void scale_backward(const thread *me, void **p, const int64_t *n, const double *f) {
  for_mine(r, n[0]) {
    float *dw = (float *)p[0] + r * n[1], *db = (float *)p[1] + r, g = ((float *)p[5])[r];
    ((float *)p[2])[r] += dot(dw, (float *)p[3] + r * n[1], n[1]) + *db * ((float *)p[4])[r];
    for (int64_t c = 0; c < n[1]; c++) dw[c] *= g;
    *db *= g;
  }
}

// p: Bias, Table, Index; n: H, pairs
static void relpos(const thread *me, void **p, const int64_t *n, const double *f) {
  for_mine(h, n[0])
    for (int64_t i = 0; i < n[1]; i++) ((float *)p[0])[h * n[1] + i] = ((float *)p[1])[((int32_t *)p[2])[i] * n[0] + h];
}

// p: DTable, DBias, Index; n as relpos
static void relpos_backward(const thread *me, void **p, const int64_t *n, const double *f) {
  for_mine(h, n[0])
    for (int64_t i = 0; i < n[1]; i++) ((float *)p[0])[((int32_t *)p[2])[i] * n[0] + h] += ((float *)p[1])[h * n[1] + i];
}
