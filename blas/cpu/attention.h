// Attention: one sample and head at a time. Scores live for one panel of rows, in the first-level cache; backward keeps P and dS of one
// head, in the second-level cache. The products ask the memory for the next head's rows. Where pairs are multiplied, P and dS are
// rounded to bfloat16 for their products, else they are float32.

typedef struct {
  int64_t N, H, d, D; // tokens, heads, width of a head, of all heads
  int64_t W, V;       // N and d rounded up to whole panels
  int64_t Kd, Kn;     // d and N in units
  int64_t panels;     // of rows, as even as can be
  int type, pairs;
  float scale;
} heads;

static heads heads_of(const int64_t *n, const double *f) {
  heads h = {.N = n[1], .H = n[2], .d = n[3], .D = n[2] * n[3], .type = n[4], .pairs = multiplies_pairs(n[4]), .scale = f[0]};
  h.W = ceiling(h.N, PANEL) * PANEL, h.V = ceiling(h.d, PANEL) * PANEL, h.panels = ceiling(h.N, TILE_ROWS);
  h.Kd = units(h.d, h.pairs), h.Kn = units(h.N, h.pairs);
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

// head_ahead is the head's part of TILE_ROWS rows.
static ahead head_ahead(const heads *h, const void *data, int64_t row, int64_t width, int64_t col) {
  int64_t size = size_of(h->type);
  return (ahead){(const char *)data + (row * width + col) * size, width * size, ceiling(h->d * size, LINE)};
}

// scores is X [rows, W] = A·B for rows of units and packed columns.
static void scores(const heads *h, tiles *f, int64_t rows, const float *a, const float *b, float *x) {
  for (int64_t j = 0; j < h->W; j += PANEL) f(rows, h->Kd, a, h->Kd, b + j * h->Kd, x + j, h->W, 0, NULL);
}

// round_row turns a row of P or dS to pairs, in its place.
static inline void round_row(const heads *h, float *x) {
  for (int64_t j = 0; j < h->N; j += LANES) {
    float y[LANES];
    memcpy(y, x + j, sizeof y);
    save(x, j, y, LANES, BF16);
  }
}

// combine writes rows of a head: A·B·scale, A [rows, N] as rows of units or packed, B [N, d] packed. scale is one number, or one for each row.
// Meanwhile it asks for what it writes and, two for each panel of B, for next.
static void combine(const heads *h, tiles *f, int64_t rows, const float *a, int64_t ar, const float *b, const float *scale, int per_row, void *dst,
    int64_t row, int64_t width, int64_t col, const ahead *next, int nexts) {
  float x[TILE] __attribute__((aligned(64)));
  for (int64_t c = 0; c < h->d; c += PANEL) {
    int64_t size = size_of(h->type), at = row * width + col + c;
    ahead soon[AHEADS] = {{(const char *)dst + at * size, width * size, ceiling(PANEL * size, LINE)}};
    for (int i = 1; i < AHEADS && nexts > 0; i++, nexts--) soon[i] = *next++;
    f(rows, h->Kn, a, ar, b + c * h->Kn, x, PANEL, 0, soon);
    for (int64_t r = 0; r < rows; r++, at += width) {
      float *y = x + r * PANEL, s = scale[per_row ? r : 0];
      *(vec *)y *= s, *(vec *)(y + LANES) *= s;
      if (h->d - c >= PANEL) save(dst, at, y, PANEL, h->type);
      else save(dst, at, y, h->d - c, h->type);
    }
  }
}

// bias_at is a vector of a bias row, [N], and beyond its end what the exponential makes 0.
static inline vec bias_at(const float *bias, int64_t j, int64_t n) {
  if (bias && n - j >= LANES) return *(const vec *)(bias + j);
  float x[LANES];
#pragma omp simd
  for (int64_t i = 0; i < LANES; i++) x[i] = i >= n - j ? -INFINITY : bias ? bias[j + i] : 0;
  return *(vec *)x;
}

// logits turns a row of n scores into s·scale + bias and returns the largest.
static float logits(float *x, int64_t n, float scale, const float *bias) {
  vec most = all(-INFINITY);
  for (int64_t j = 0; j < n; j += LANES) {
    vec *y = (vec *)(x + j);
    *y = *y * scale + bias_at(bias, j, n);
    most = larger(*y, most);
  }
  return largest(most);
}

// exponentials turns logits into exp(s - most) and returns the sum.
static float exponentials(float *x, int64_t n, float most) {
  vec sum = {};
  for (int64_t j = 0; j < n; j += LANES) {
    vec *y = (vec *)(x + j);
    *y = exponential(*y - most);
    sum += *y;
  }
  return total(sum);
}

// p: Out, LSE, QKV, Bias, Keep; n: B, N, heads, d, type; f: scale
static void attention(void **p, const int64_t *n, const double *f) {
  heads h = heads_of(n, f);
  int64_t live = 0, sample[n[0] + 1], bytes = h.N * h.D * size_of(h.type);
  for (int64_t b = 0; b < n[0]; b++) {
    if (is_live(p[4], b)) sample[live++] = b;
    else memset((char *)p[0] + b * bytes, 0, bytes);
  }
  tiles *multiply_rows = tiles_for(0, h.pairs);
#pragma omp parallel
  {
    float *q = scratch((h.N * h.Kd + h.W * h.Kd + h.V * h.Kn + TILE_ROWS * h.W) * 4);
    float *k = q + h.N * h.Kd, *v = k + h.W * h.Kd, *x = v + h.V * h.Kn;
#pragma omp for schedule(static)
    for (int64_t s = 0; s < live * h.H; s++) {
      int64_t head = s / live, b = sample[s % live], row = b * h.N, col = head * h.d, width = 3 * h.D;
      int64_t then = (s + 1) % (live * h.H), next_row = sample[then % live] * h.N, next_col = then / live * h.d;
      matrix mq = head_part(&h, p[2], row, width, col, 1), mk = head_part(&h, p[2], row, width, h.D + col, 1),
             mv = head_part(&h, p[2], row, width, 2 * h.D + col, 0);
      head_rows(&h, q, &mq);
      pack(PANEL, k, &mk, 0, h.N, NULL);
      pack(PANEL, v, &mv, 0, h.d, NULL);
      for (int64_t t = 0; t < h.panels; t++) {
        int64_t i = h.N * t / h.panels, rows = h.N * (t + 1) / h.panels - i;
        float top[TILE_ROWS], inverse[TILE_ROWS];
        scores(&h, multiply_rows, rows, q + i * h.Kd, k, x);
        for (int64_t r = 0; r < rows; r++)
          top[r] = logits(x + r * h.W, h.N, h.scale, p[3] ? (float *)p[3] + (head * h.N + i + r) * h.N : NULL);
        for (int64_t r = 0; r < rows; r++) {
          float sum = exponentials(x + r * h.W, h.N, top[r]);
          inverse[r] = 1 / sum;
          ((float *)p[1])[(b * h.H + head) * h.N + i + r] = top[r] + logf(sum);
          if (h.pairs) round_row(&h, x + r * h.W);
        }
        ahead next[3];
        for (int part = 0; part < 3; part++) next[part] = head_ahead(&h, p[2], next_row + i, width, part * h.D + next_col);
        combine(&h, multiply_rows, rows, x, h.W, v, inverse, 1, p[0], row + i, h.D, col, next, 3);
      }
    }
    free(q);
  }
}

// gradients turns scores x and dP y into P and dS of one row; dbias receives += dS.
static void gradients(float *x, float *y, int64_t n, float scale, const float *bias, float lse, float delta, float *dbias) {
  for (int64_t j = 0; j < n; j += LANES) {
    vec *s = (vec *)(x + j), *g = (vec *)(y + j);
    *s = exponential(*s * scale + bias_at(bias, j, n) - lse);
    *g = *s * (*g - delta);
    if (!dbias) continue;
    if (n - j >= LANES) *(vec *)(dbias + j) += *g;
    else for (int64_t i = j; i < n; i++) dbias[i] += y[i];
  }
}

// p: DQKV, DBias, DOut, Out, LSE, QKV, Bias, Keep; n and f as attention. A thread owns whole heads, so that sums over samples
// keep one order.
static void attention_backward(void **p, const int64_t *n, const double *f) {
  heads h = heads_of(n, f);
  tiles *multiply_rows = tiles_for(0, h.pairs), *multiply_packed = tiles_for(1, h.pairs);
  int64_t size = size_of(h.type);
  float one = 1;
#pragma omp parallel
  {
    int64_t rows_size = h.N * h.Kd, across = h.V * h.Kn, square = h.N * h.W;
    float *q = scratch((2 * rows_size + 2 * h.W * h.Kd + 3 * across + 2 * square + h.panels * TILE_ROWS * h.Kn) * 4);
    float *go = q + rows_size, *k = go + rows_size, *v = k + h.W * h.Kd, *q_across = v + h.W * h.Kd, *k_across = q_across + across;
    float *go_across = k_across + across, *P = go_across + across, *dS = P + square, *turned = dS + square;
#pragma omp for schedule(static)
    for (int64_t head = 0; head < h.H; head++)
      for (int64_t b = 0; b < n[0]; b++) {
        int64_t row = b * h.N, col = head * h.d, D = h.D;
        if (!is_live(p[7], b)) {
          for (int64_t i = 0; i < 3 * h.N; i++) memset((char *)p[0] + ((row + i / 3) * 3 * D + i % 3 * D + col) * size, 0, h.d * size);
          continue;
        }
        int64_t then = (head * n[0] + b + 1) % (h.H * n[0]), next_row = then % n[0] * h.N, next_col = then / n[0] * h.d;
        matrix m = head_part(&h, p[5], row, 3 * D, col, 1);
        head_rows(&h, q, &m);
        m = head_part(&h, p[2], row, D, col, 1), head_rows(&h, go, &m);
        m = head_part(&h, p[5], row, 3 * D, D + col, 1), pack(PANEL, k, &m, 0, h.N, NULL);
        m = head_part(&h, p[5], row, 3 * D, 2 * D + col, 1), pack(PANEL, v, &m, 0, h.N, NULL);
        m = head_part(&h, p[5], row, 3 * D, col, 0), pack(PANEL, q_across, &m, 0, h.d, NULL);
        m = head_part(&h, p[5], row, 3 * D, D + col, 0), pack(PANEL, k_across, &m, 0, h.d, NULL);
        m = head_part(&h, p[2], row, D, col, 0), pack(PANEL, go_across, &m, 0, h.d, NULL);
        for (int64_t t = 0; t < h.panels; t++) {
          int64_t i = h.N * t / h.panels, end = h.N * (t + 1) / h.panels;
          scores(&h, multiply_rows, end - i, q + i * h.Kd, k, P + i * h.W);
          scores(&h, multiply_rows, end - i, go + i * h.Kd, v, dS + i * h.W);
          for (int64_t r = i; r < end; r++) {
            float o[h.d], g[h.d], *x = P + r * h.W, *y = dS + r * h.W;
            load(o, p[3], (row + r) * D + col, h.d, h.type);
            load(g, p[2], (row + r) * D + col, h.d, h.type);
            int64_t at = (head * h.N + r) * h.N;
            gradients(x, y, h.N, h.scale, p[6] ? (float *)p[6] + at : NULL, ((float *)p[4])[(b * h.H + head) * h.N + r], dot(o, g, h.d),
                p[1] ? (float *)p[1] + at : NULL);
            if (h.pairs) round_row(&h, x), round_row(&h, y);
          }
          ahead next[4];
          for (int part = 0; part < 3; part++) next[part] = head_ahead(&h, p[5], next_row + i, 3 * D, part * D + next_col);
          next[3] = head_ahead(&h, p[2], next_row + i, D, next_col);
          combine(&h, multiply_rows, end - i, dS + i * h.W, h.W, k_across, &h.scale, 0, p[0], row + i, 3 * D, col, next, 4);
        }
        for (int key = 0; key < 2; key++) { // dV = Pᵀ·dOut, then dK = dSᵀ·q·scale
          matrix s = {key ? dS : P, h.W << h.pairs, h.N, h.N, h.pairs ? BF16 : F32, h.pairs, 0};
          pack(TILE_ROWS, turned, &s, 0, h.N, NULL);
          for (int64_t j = 0; j < h.N; j += TILE_ROWS) {
            ahead next = head_ahead(&h, p[3], next_row + j, D, next_col);
            combine(&h, multiply_packed, least(h.N - j, TILE_ROWS), turned + j * h.Kn, 0, key ? q_across : go_across, key ? &h.scale : &one, 0, p[0],
                row + j, 3 * D, (key ? D : 2 * D) + col, &next, key);
          }
        }
      }
    free(q);
  }
}
