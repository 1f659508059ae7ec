// Attention: one sample and head at a time. Scores live for one panel of rows, in the first-level cache; backward keeps P and dS of one
// head, in the second-level cache. Where pairs are multiplied, P and dS are rounded to bfloat16 for their products, else they are float32.

typedef struct {
  int64_t N, H, d, D; // tokens, heads, width of a head, of all heads
  int64_t W, V;       // N and d rounded up to whole panels
  int64_t Kd, Kn;     // d and N in units
  int type, pairs, kept; // kept: the type of P and dS
} heads;

static heads heads_of(const int64_t *n) {
  heads h = {.N = n[1], .H = n[2], .d = n[3], .D = n[2] * n[3], .type = n[4], .pairs = multiplies_pairs(n[4])};
  h.W = ceiling(h.N, PANEL) * PANEL, h.V = ceiling(h.d, PANEL) * PANEL;
  h.Kd = units(h.d, h.pairs), h.Kn = units(h.N, h.pairs), h.kept = h.pairs ? BF16 : F32;
  return h;
}

// head_part is one head of one sample as a matrix: tokens from row on, columns from col of a tensor of so many columns. along: its rows are
// the columns of the product.
static matrix head_part(const heads *h, const void *data, int64_t row, int64_t width, int64_t col, int along) {
  const char *at = (const char *)data + (row * width + col) * size_of(h->type);
  return (matrix){at, width, along ? h->d : h->N, along ? h->N : h->d, h->type, h->pairs, along};
}

// head_rows copies a head's rows as rows of units, [N][Kd].
static void head_rows(const heads *h, float *dst, const matrix *m) {
  for (int64_t i = 0; i < h->N; i++) units_along(dst + i * h->Kd, m, i, 0, h->Kd);
}

// scores is X [rows, W] = A·B for rows of units and packed columns.
static void scores(const heads *h, tiles *f, int64_t rows, const float *a, const float *b, float *x) {
  for (int64_t j = 0; j < h->W; j += PANEL) f(rows, h->Kd, a, h->Kd, b + j * h->Kd, x + j, h->W, 0, NULL);
}

// keep_row stores a row of P or dS as its products take it: [N] of type kept, an odd last pair filled up.
static inline void keep_row(const heads *h, float *dst, const float *x) {
  if (h->pairs) ((uint16_t *)dst)[2 * h->Kn - 1] = 0;
  save(dst, 0, x, h->N, h->kept);
}

// combine writes rows of a head: A·B·scale, A [rows, N] as rows of units or packed, B [N, d] packed. scale is one number, or one for each row.
static void combine(const heads *h, tiles *f, int64_t rows, const float *a, int64_t ar, const float *b, const float *scale, int per_row, void *dst,
    int64_t row, int64_t width, int64_t col) {
  float x[TILE] __attribute__((aligned(64)));
  for (int64_t c = 0; c < h->d; c += PANEL) {
    f(rows, h->Kn, a, ar, b + c * h->Kn, x, PANEL, 0, NULL);
    for (int64_t r = 0; r < rows; r++) {
      float s = scale[per_row ? r : 0], *y = x + r * PANEL;
      for (int64_t i = 0; i < PANEL; i++) y[i] *= s;
      save(dst, (row + r) * width + col + c, y, least(h->d - c, PANEL), h->type);
    }
  }
}

// scaled is x·scale + bias in a row of n scores, and fills it up with what the exponential makes 0, so that no number is left to be
// computed alone. It returns the length.
static inline int64_t scaled(float *x, int64_t n, float scale, const float *bias) {
  int64_t whole = ceiling(n, LANES) * LANES;
  if (bias) for (int64_t j = 0; j < n; j++) x[j] = x[j] * scale + bias[j];
  else for (int64_t j = 0; j < n; j++) x[j] *= scale;
  for (int64_t j = n; j < whole; j++) x[j] = -INFINITY;
  return whole;
}

// softmax turns scores into exp(s·scale + bias - max) and returns the sum; top receives the maximum.
static float softmax(float *x, int64_t n, float scale, const float *bias, float *top) {
  float most = -INFINITY, sum = 0;
  n = scaled(x, n, scale, bias);
#pragma omp simd reduction(max : most)
  for (int64_t j = 0; j < n; j++) most = x[j] > most ? x[j] : most;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; j++) { x[j] = exponential(x[j] - most); sum += x[j]; }
  *top = most;
  return sum;
}

// p: Out, LSE, QKV, Bias, Keep; n: B, N, heads, d, type; f: scale
static void attention(void **p, const int64_t *n, const double *f) {
  heads h = heads_of(n);
  int64_t live = 0, sample[n[0] + 1], bytes = h.N * h.D * size_of(h.type);
  for (int64_t b = 0; b < n[0]; b++) {
    if (is_live(p[4], b)) sample[live++] = b;
    else memset((char *)p[0] + b * bytes, 0, bytes);
  }
  tiles *multiply_rows = tiles_for(0, h.pairs);
#pragma omp parallel
  {
    float *q = scratch((h.N * h.Kd + h.W * h.Kd + h.V * h.Kn + TILE_ROWS * (h.W + h.Kn)) * 4);
    float *k = q + h.N * h.Kd, *v = k + h.W * h.Kd, *x = v + h.V * h.Kn, *kept = x + TILE_ROWS * h.W;
#pragma omp for schedule(static)
    for (int64_t s = 0; s < live * h.H; s++) {
      int64_t bh = sample[s / h.H] * h.H + s % h.H, row = bh / h.H * h.N, col = bh % h.H * h.d;
      matrix mq = head_part(&h, p[2], row, 3 * h.D, col, 1), mk = head_part(&h, p[2], row, 3 * h.D, h.D + col, 1),
             mv = head_part(&h, p[2], row, 3 * h.D, 2 * h.D + col, 0);
      head_rows(&h, q, &mq);
      pack(PANEL, k, &mk, 0, h.N, NULL);
      pack(PANEL, v, &mv, 0, h.d, NULL);
      for (int64_t i = 0; i < h.N; i += TILE_ROWS) {
        int64_t rows = least(h.N - i, TILE_ROWS);
        float inverse[TILE_ROWS], top;
        scores(&h, multiply_rows, rows, q + i * h.Kd, k, x);
        for (int64_t r = 0; r < rows; r++) {
          const float *bias = p[3] ? (float *)p[3] + (bh % h.H * h.N + i + r) * h.N : NULL;
          float sum = softmax(x + r * h.W, h.N, f[0], bias, &top);
          inverse[r] = 1 / sum;
          ((float *)p[1])[bh * h.N + i + r] = top + logf(sum);
          keep_row(&h, kept + r * h.Kn, x + r * h.W);
        }
        combine(&h, multiply_rows, rows, kept, h.Kn, v, inverse, 1, p[0], row + i, h.D, col);
      }
    }
    free(q);
  }
}

// gradient_row turns scores x and dP y into P and dS of one row; dbias receives += dS.
static void gradient_row(float *x, float *y, int64_t n, float scale, const float *bias, float lse, float delta, float *dbias) {
  int64_t whole = scaled(x, n, scale, bias);
  for (int64_t j = 0; j < whole; j++) { x[j] = exponential(x[j] - lse); y[j] = x[j] * (y[j] - delta); }
  if (dbias) for (int64_t j = 0; j < n; j++) dbias[j] += y[j];
}

// p: DQKV, DBias, DOut, Out, LSE, QKV, Bias, Keep; n and f as attention. A thread owns whole heads, so that sums over samples
// keep one order.
static void attention_backward(void **p, const int64_t *n, const double *f) {
  heads h = heads_of(n);
  tiles *multiply_rows = tiles_for(0, h.pairs), *multiply_packed = tiles_for(1, h.pairs);
  float scale = f[0], one = 1;
  int64_t panels = ceiling(h.N, TILE_ROWS), size = size_of(h.type);
#pragma omp parallel
  {
    int64_t rows_size = h.N * h.Kd, across = h.V * h.Kn;
    float *q = scratch((2 * rows_size + 2 * h.W * h.Kd + 3 * across + 2 * TILE_ROWS * h.W + 2 * h.N * h.Kn + panels * TILE_ROWS * h.Kn) * 4);
    float *go = q + rows_size, *k = go + rows_size, *v = k + h.W * h.Kd, *q_across = v + h.W * h.Kd, *k_across = q_across + across;
    float *go_across = k_across + across, *x = go_across + across, *y = x + TILE_ROWS * h.W, *P = y + TILE_ROWS * h.W, *dS = P + h.N * h.Kn;
    float *turned = dS + h.N * h.Kn;
#pragma omp for schedule(static)
    for (int64_t head = 0; head < h.H; head++)
      for (int64_t b = 0; b < n[0]; b++) {
        int64_t row = b * h.N, col = head * h.d, D = h.D;
        if (!is_live(p[7], b)) {
          for (int64_t i = 0; i < 3 * h.N; i++) memset((char *)p[0] + ((row + i / 3) * 3 * D + i % 3 * D + col) * size, 0, h.d * size);
          continue;
        }
        matrix m = head_part(&h, p[5], row, 3 * D, col, 1);
        head_rows(&h, q, &m);
        m = head_part(&h, p[2], row, D, col, 1), head_rows(&h, go, &m);
        m = head_part(&h, p[5], row, 3 * D, D + col, 1), pack(PANEL, k, &m, 0, h.N, NULL);
        m = head_part(&h, p[5], row, 3 * D, 2 * D + col, 1), pack(PANEL, v, &m, 0, h.N, NULL);
        m = head_part(&h, p[5], row, 3 * D, col, 0), pack(PANEL, q_across, &m, 0, h.d, NULL);
        m = head_part(&h, p[5], row, 3 * D, D + col, 0), pack(PANEL, k_across, &m, 0, h.d, NULL);
        m = head_part(&h, p[2], row, D, col, 0), pack(PANEL, go_across, &m, 0, h.d, NULL);
        for (int64_t i = 0; i < h.N; i += TILE_ROWS) {
          int64_t rows = least(h.N - i, TILE_ROWS);
          scores(&h, multiply_rows, rows, q + i * h.Kd, k, x);
          scores(&h, multiply_rows, rows, go + i * h.Kd, v, y);
          for (int64_t r = i; r < i + rows; r++) {
            float o[h.d], g[h.d], *xr = x + (r - i) * h.W, *yr = y + (r - i) * h.W;
            load(o, p[3], (row + r) * D + col, h.d, h.type);
            load(g, p[2], (row + r) * D + col, h.d, h.type);
            int64_t at = (head * h.N + r) * h.N;
            gradient_row(xr, yr, h.N, scale, p[6] ? (float *)p[6] + at : NULL, ((float *)p[4])[(b * h.H + head) * h.N + r], dot(o, g, h.d),
                p[1] ? (float *)p[1] + at : NULL);
            keep_row(&h, P + r * h.Kn, xr);
            keep_row(&h, dS + r * h.Kn, yr);
          }
          combine(&h, multiply_rows, rows, dS + i * h.Kn, h.Kn, k_across, &scale, 0, p[0], row + i, 3 * D, col);
        }
        for (int key = 0; key < 2; key++) { // dV = Pᵀ·dOut, then dK = dSᵀ·q·scale
          matrix s = {key ? dS : P, h.Kn << h.pairs, h.N, h.N, h.kept, h.pairs, 0};
          pack(TILE_ROWS, turned, &s, 0, h.N, NULL);
          for (int64_t j = 0; j < h.N; j += TILE_ROWS)
            combine(&h, multiply_packed, least(h.N - j, TILE_ROWS), turned + j * h.Kn, 0, key ? q_across : go_across, key ? &scale : &one, 0, p[0],
                row + j, 3 * D, (key ? D : 2 * D) + col);
        }
      }
    free(q);
  }
}
