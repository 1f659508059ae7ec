// Attention: one sample and head at a time. Scores live for one panel of rows, in the first-level cache. The products ask the memory, line by
// line, for what is written and for the next head's rows. Where pairs are multiplied, P and dS are rounded to bfloat16 for their products,
// else they are float32.

enum { LINES = 64, LISTED = 8 }; // of a row, at most; that are listed at once

typedef struct {
  int64_t N, H, d, D; // tokens, heads, width of a head, of all heads
  int64_t W;          // N rounded up to whole vectors
  int64_t Kd, Kn;     // d and N in units
  int64_t along;      // size of a head's rows packed as columns, [N / PANEL][Kd][PANEL]
  int64_t across;     // size of its columns packed, [d / PANEL][Kn][PANEL]
  int64_t panels;     // of rows, as even as can be
  int type, pairs;
  float scale;
  strips *rows, *columns; // products of A as rows of units, or lying across
  int64_t lines;          // room for what one panel of rows asks for
} heads;

static heads heads_of(const int64_t *n, const double *f) {
  heads h = {.N = n[1], .H = n[2], .d = n[3], .D = n[2] * n[3], .type = n[4], .pairs = multiplies_pairs(n[4]), .scale = f[0]};
  h.W = ceiling(h.N, LANES) * LANES, h.panels = ceiling(h.N, TILE_ROWS);
  h.Kd = units(h.d, h.pairs), h.Kn = units(h.N, h.pairs);
  h.along = ceiling(h.N, PANEL) * PANEL * h.Kd, h.across = ceiling(h.d, PANEL) * PANEL * h.Kn;
  h.rows = strips_for(0, h.pairs), h.columns = strips_for(1, h.pairs);
  h.lines = 2 * TILE_ROWS * LINES + 2 * (h.along + h.across) / (PANEL * UNROLL) + LANES;
  return h;
}

// first_row is where panel t of rows begins, with pairs at an even row.
static inline int64_t first_row(const heads *h, int64_t t) {
  int64_t i = h->N * t / h->panels;
  return h->pairs && t < h->panels ? i + i % 2 : i;
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

// upcoming is what will be read or written of the next row: n lines, and how far below the row after it has each.
typedef struct { const char *at[LINES + LISTED]; int64_t step[LINES + LISTED], n; } upcoming;

// add_upcoming adds a head's part.
static void add_upcoming(upcoming *s, const heads *h, const void *data, int64_t row, int64_t width, int64_t col) {
  int64_t size = size_of(h->type), lines = ceiling(h->d * size, LINE);
  for (int64_t l = 0; l < lines && s->n < LINES; l++, s->n++)
    s->at[s->n] = (const char *)data + (row * width + col) * size + l * LINE, s->step[s->n] = width * size;
}

// list_rows lists the lines of the next rows and returns the list's end; it may write a few more.
static inline const char **list_rows(upcoming *s, const char **list, int64_t rows) {
  for (int64_t r = 0; r < rows; r++, list += s->n)
    for (int64_t l = 0; l < s->n; l += LISTED)
      for (int64_t i = l; i < l + LISTED; i++) list[i] = s->at[i], s->at[i] += s->step[i];
  return list;
}

// round_row turns a row of P or dS to pairs, in its place.
static inline void round_row(const heads *h, float *x) {
  for (int64_t j = 0; j < h->N; j += LANES) {
    float y[LANES];
    memcpy(y, x + j, sizeof y);
    save(x, j, y, LANES, BF16);
  }
}

// combine writes rows of a head: A·B·scale, A [rows, N] as rows of units or lying across, B [N, d] packed. scale is one number, or one for each row.
// It asks for lines and returns those left.
static const char *const *combine(const heads *h, strips *f, int64_t rows, const float *a, int64_t ar, const float *b, const float *scale, int per_row,
    void *dst, int64_t row, int64_t width, int64_t col, const char *const *lines) {
  float x[TILE] __attribute__((aligned(64)));
  for (int64_t c = 0; c < h->d; c += PANEL) {
    int64_t at = row * width + col + c;
    lines = f(rows, h->Kn, a, ar, b + c * h->Kn, x, PANEL, PANEL, lines);
    for (int64_t r = 0; r < rows; r++, at += width) {
      float *y = x + r * PANEL, s = scale[per_row ? r : 0];
      *(vec *)y *= s, *(vec *)(y + LANES) *= s;
      if (h->d - c >= PANEL) save(dst, at, y, PANEL, h->type);
      else save(dst, at, y, h->d - c, h->type);
    }
  }
  return lines;
}

// bias_at is a vector of a bias row, [N], and beyond its end what the exponential makes 0.
static inline vec bias_at(const float *bias, int64_t j, int64_t n) {
  if (bias && n - j >= LANES) return *(const vec *)(bias + j);
  float x[LANES];
#pragma omp simd
  for (int64_t i = 0; i < LANES; i++) x[i] = i >= n - j ? -INFINITY : bias ? bias[j + i] : 0;
  return *(vec *)x;
}

// logits turns a row of n scores into s·scale + bias and returns the largest of each lane.
static inline vec logits(float *x, int64_t n, float scale, const float *bias) {
  vec most = all(-INFINITY);
  for (int64_t j = 0; j < n; j += LANES) {
    vec *y = (vec *)(x + j);
    *y = *y * scale + bias_at(bias, j, n);
    most = larger(*y, most);
  }
  return most;
}

// exponentials turns logits into exp(s - most) and returns each lane's sum.
static inline vec exponentials(float *x, int64_t n, float most) {
  vec sum = {};
  for (int64_t j = 0; j < n; j += LANES) {
    vec *y = (vec *)(x + j);
    *y = exponential(*y - most);
    sum += *y;
  }
  return sum;
}

// largest_each and total_each write the largest number and the sum of each of LANES vectors, which they turn.
static inline void largest_each(float *dst, vec x[LANES]) {
  turn(x);
  vec most = x[0];
  for (int i = 1; i < LANES; i++) most = larger(x[i], most);
  *(vec *)dst = most;
}

static inline void total_each(float *dst, vec x[LANES]) {
  turn(x);
  vec sum = x[0];
  for (int i = 1; i < LANES; i++) sum += x[i];
  *(vec *)dst = sum;
}

// live_samples lists the samples that drop path has left of n, and zeroes the others' rows of out, so many columns wide.
static int64_t live_samples(const thread *me, const heads *h, int64_t *sample, const float *keep, int64_t n, void *out, int64_t width) {
  int64_t live = 0, bytes = h->N * width * size_of(h->type);
  for (int64_t b = 0; b < n; b++) {
    if (is_live(keep, b)) sample[live++] = b;
    else if (b % me->count == me->number) memset((char *)out + b * bytes, 0, bytes);
  }
  return live;
}

// p: Out, LSE, QKV, Bias, Keep; n: B, N, heads, d, type; f: scale
static void attention(const thread *me, void **p, const int64_t *n, const double *f) {
  heads h = heads_of(n, f);
  int64_t sample[n[0] + 1], live = live_samples(me, &h, sample, p[4], n[0], p[0], h.D);
  int64_t size = h.N * h.Kd + h.along + h.across + TILE_ROWS * h.W;
  float *q = scratch(ceiling(size, LANES) * LANES * 4 + h.lines * sizeof(char *));
  float *k = q + h.N * h.Kd, *v = k + h.along, *x = v + h.across;
  const char **list = memset(q + ceiling(size, LANES) * LANES, 0, h.lines * sizeof *list);
  for_mine(s, live * h.H) {
    int64_t head = s % h.H, b = sample[s / h.H], row = b * h.N, col = head * h.d, width = 3 * h.D;
    int64_t then = (s + 1) % (live * h.H), next_row = sample[then / h.H] * h.N, next_col = then % h.H * h.d;
    matrix mq = head_part(&h, p[2], row, width, col, 1), mk = head_part(&h, p[2], row, width, h.D + col, 1),
           mv = head_part(&h, p[2], row, width, 2 * h.D + col, 0);
    head_rows(&h, q, &mq);
    pack(PANEL, k, &mk, 0, h.N, NULL);
    pack(PANEL, v, &mv, 0, h.d, NULL);
    upcoming writes = {.n = 0}, reads = {.n = 0};
    add_upcoming(&writes, &h, p[0], row, h.D, col);
    for (int part = 0; part < 3; part++) add_upcoming(&reads, &h, p[2], next_row, width, part * h.D + next_col);
    for (int64_t t = 0; t < h.panels; t++) {
      int64_t i = first_row(&h, t), rows = first_row(&h, t + 1) - i;
      float top[LANES], sum[LANES], inverse[LANES];
      vec lanes[LANES] = {};
      list_rows(&reads, list_rows(&writes, list, rows), rows);
      const char *const *lines = h.rows(rows, h.Kd, q + i * h.Kd, h.Kd, k, x, h.W, h.W, list);
      for (int64_t r = 0; r < rows; r++)
        lanes[r] = logits(x + r * h.W, h.N, h.scale, p[3] ? (float *)p[3] + (head * h.N + i + r) * h.N : NULL);
      largest_each(top, lanes);
      for (int64_t r = 0; r < rows; r++) {
        lanes[r] = exponentials(x + r * h.W, h.N, top[r]);
        if (h.pairs) round_row(&h, x + r * h.W);
      }
      total_each(sum, lanes);
      for (int64_t r = 0; r < rows; r++) {
        inverse[r] = 1 / sum[r];
        ((float *)p[1])[(b * h.H + head) * h.N + i + r] = top[r] + logf(sum[r]);
      }
      combine(&h, h.rows, rows, x, h.W, v, inverse, 1, p[0], row + i, h.D, col, lines);
    }
  }
  free(q);
}
