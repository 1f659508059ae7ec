// Attention's backward (attention.h). Tiles have keys as rows and queries as columns: P and dS of one panel of keys are, in the first-level
// cache, rows of A for dv and dk; for dq, A is dS of all keys, which lies across.

// gradients turns scores x and dP y of one key into P and dS; dbias receives += dS.
static void gradients(float *x, float *y, int64_t n, float scale, const float *bias, const float *lse, const float *delta, float *dbias) {
  for (int64_t j = 0; j < n; j += LANES) {
    vec *s = (vec *)(x + j), *g = (vec *)(y + j);
    *s = exponential(*s * scale + *(vec *)(bias + j) - *(vec *)(lse + j));
    *g = *s * (*g - *(vec *)(delta + j));
    *(vec *)(dbias + j) += *g;
  }
}

// products is each lane's sum of the products of row i of two heads' parts, as numbers.
static inline vec products(const matrix *a, const matrix *b, int64_t i) {
  vec sum = {};
  for (int64_t j = 0; j < a->k; j += LANES) {
    vec x = {}, y = {};
    if (a->k - j >= LANES) x = vector_along(a, i, j), y = vector_along(b, i, j);
    else units_along((float *)&x, a, i, j, a->k - j), units_along((float *)&y, b, i, j, a->k - j);
    sum += x * y;
  }
  return sum;
}

// transpose writes the transpose of src [n, n], rows from apart, at dst, rows to apart.
static void transpose(float *dst, int64_t to, const float *src, int64_t from, int64_t n) {
  for (int64_t i = 0; i < n; i += LANES)
    for (int64_t j = 0; j < n; j += LANES) {
      vec x[LANES] = {};
      int64_t rows = least(n - i, LANES), columns = least(n - j, LANES);
      if (columns == LANES) for (int64_t r = 0; r < rows; r++) x[r] = *(const vec *)(src + (i + r) * from + j);
      else for (int64_t r = 0; r < rows; r++) memcpy(x + r, src + (i + r) * from + j, columns * 4);
      turn(x);
      if (rows == LANES) for (int64_t c = 0; c < columns; c++) *(vec *)(dst + (j + c) * to + i) = x[c];
      else for (int64_t c = 0; c < columns; c++) memcpy(dst + (j + c) * to + i, x + c, rows * 4);
    }
}

// room is a thread's memory: for one head of one sample, and for the head's bias.
typedef struct {
  float *k, *v;                              // rows of units, [N][Kd]
  float *q, *dout;                           // rows packed as columns
  float *q_across, *k_across, *dout_across;  // columns packed
  float *x, *y;                              // P, and with pairs dP and dS, for one panel of keys: [TILE_ROWS][W]
  float *lse, *delta;                        // [W]
  float *dS;                                 // keys as rows, in units of them: [Kn][W]
  float *bias, *dbias;                       // [N][W], keys as rows
  const char **list;                         // of lines, one after the other asked for
} room;

// room_of makes room; what it returns is to be freed.
static void *room_of(const heads *h, room *w) {
  struct { float **part; int64_t size; } parts[] = {{&w->k, h->N * h->Kd}, {&w->v, h->N * h->Kd}, {&w->q, h->along}, {&w->dout, h->along},
      {&w->q_across, h->across}, {&w->k_across, h->across}, {&w->dout_across, h->across}, {&w->x, TILE_ROWS * h->W}, {&w->y, TILE_ROWS * h->W},
      {&w->lse, h->W}, {&w->delta, h->W}, {&w->bias, h->N * h->W}, {&w->dbias, h->N * h->W}, {&w->dS, h->Kn * h->W}};
  enum { COUNT = sizeof parts / sizeof *parts };
  int64_t size = 0;
  for (int i = 0; i < COUNT; i++) size += ceiling(parts[i].size, LANES) * LANES;
  float *at = scratch(size * 4 + h->lines * sizeof *w->list);
  for (int i = 0; i < COUNT; at += ceiling(parts[i].size, LANES) * LANES, i++) *parts[i].part = at;
  memset(w->lse, 0, h->W * 4), memset(w->dbias, 0, h->N * h->W * 4);
  for (int64_t i = 0; i < h->N * h->W; i++) w->bias[i] = i % h->W < h->N ? 0 : -INFINITY;
  w->list = memset(at, 0, h->lines * sizeof *w->list);
  return w->k;
}

// pack_head packs what the products of sample b's head read, and computes delta.
static void pack_head(const heads *h, const room *w, void **p, int64_t b, int64_t head) {
  int64_t row = b * h->N, col = head * h->d, D = h->D;
  matrix q = head_part(h, p[5], row, 3 * D, col, 1), k = head_part(h, p[5], row, 3 * D, D + col, 1), v = head_part(h, p[5], row, 3 * D, 2 * D + col, 1);
  matrix q_across = head_part(h, p[5], row, 3 * D, col, 0), k_across = head_part(h, p[5], row, 3 * D, D + col, 0);
  matrix out = head_part(h, p[3], row, D, col, 1), dout = head_part(h, p[2], row, D, col, 1), dout_across = head_part(h, p[2], row, D, col, 0);
  head_rows(h, w->k, &k), head_rows(h, w->v, &v);
  pack(PANEL, w->q, &q, 0, h->N, NULL), pack(PANEL, w->dout, &dout, 0, h->N, NULL);
  pack(PANEL, w->q_across, &q_across, 0, h->d, NULL), pack(PANEL, w->k_across, &k_across, 0, h->d, NULL);
  pack(PANEL, w->dout_across, &dout_across, 0, h->d, NULL);
  memcpy(w->lse, (float *)p[4] + (b * h->H + head) * h->N, h->N * 4);
  out.pairs = dout.pairs = 0;
  for (int64_t i = 0; i < h->N; i += LANES) {
    vec lanes[LANES] = {};
    for (int64_t r = 0; r < least(h->N - i, LANES); r++) lanes[r] = products(&out, &dout, i + r);
    total_each(w->delta + i, lanes);
  }
}

// head_backward writes DQKV of sample b's head and adds to dbias. next_b and next_head are what follows.
static void head_backward(const heads *h, const room *w, void **p, int64_t b, int64_t head, int64_t next_b, int64_t next_head) {
  int64_t row = b * h->N, col = head * h->d, next_row = next_b * h->N, next_col = next_head * h->d, D = h->D;
  float one = 1;
  pack_head(h, w, p, b, head);
  upcoming writes = {.n = 0}, reads = {.n = 0}, dq = {.n = 0};
  for (int part = 2; part > 0; part--) add_upcoming(&writes, h, p[0], row, 3 * D, part * D + col);
  for (int part = 0; part < 3; part++) add_upcoming(&reads, h, p[5], next_row, 3 * D, part * D + next_col);
  for (int part = 2; part < 4; part++) add_upcoming(&reads, h, p[part], next_row, D, next_col);
  add_upcoming(&dq, h, p[0], row, 3 * D, col);
  for (int64_t t = 0; t < h->panels; t++) {
    int64_t i = first_row(h, t), rows = first_row(h, t + 1) - i;
    list_rows(&reads, list_rows(&writes, w->list, rows), rows);
    const char *const *lines = h->rows(rows, h->Kd, w->k + i * h->Kd, h->Kd, w->q, w->x, h->W, h->W, w->list);
    float *dS = h->pairs ? w->y : w->dS + i * h->W;
    lines = h->rows(rows, h->Kd, w->v + i * h->Kd, h->Kd, w->dout, dS, h->W, h->W, lines);
    for (int64_t r = 0; r < rows; r++) {
      float *x = w->x + r * h->W, *y = dS + r * h->W;
      gradients(x, y, h->N, h->scale, w->bias + (i + r) * h->W, w->lse, w->delta, w->dbias + (i + r) * h->W);
      if (h->pairs) round_row(h, x), round_row(h, y);
    }
    matrix m = {dS, 2 * h->W, rows, h->W, BF16, 1, 0};
    if (h->pairs) for (int64_t r = 0; r < rows; r += 2) units_across(w->dS + (i + r) / 2 * h->W, &m, r / 2, 0, h->W);
    lines = combine(h, h->rows, rows, w->x, h->W, w->dout_across, &one, 0, p[0], row + i, 3 * D, 2 * D + col, lines);
    combine(h, h->rows, rows, dS, h->W, w->q_across, &h->scale, 0, p[0], row + i, 3 * D, D + col, lines);
  }
  for (int64_t t = 0; t < h->panels; t++) {
    int64_t i = first_row(h, t), rows = first_row(h, t + 1) - i;
    list_rows(&dq, w->list, rows);
    combine(h, h->columns, rows, w->dS + i, h->W, w->k_across, &h->scale, 0, p[0], row + i, 3 * D, col, w->list);
  }
}

// p: DQKV, DBias, DOut, Out, LSE, QKV, Bias, Keep; n and f as attention. A thread owns whole heads, so that sums over samples keep one order.
static void attention_backward(const thread *me, void **p, const int64_t *n, const double *f) {
  heads h = heads_of(n, f);
  int64_t sample[n[0] + 1], live = live_samples(me, &h, sample, p[7], n[0], p[0], 3 * h.D);
  room w;
  void *memory = room_of(&h, &w);
  for_mine(head, h.H) {
    float *bias = (float *)p[6] + head * h.N * h.N, *dbias = (float *)p[1] + head * h.N * h.N;
    if (p[6]) transpose(w.bias, h.W, bias, h.N, h.N), transpose(w.dbias, h.W, dbias, h.N, h.N);
    for (int64_t i = 0; i < live; i++)
      head_backward(&h, &w, p, sample[i], head, sample[(i + 1) % live], i + 1 < live ? head : least(head + 1, h.H - 1));
    if (p[1]) transpose(dbias, h.N, w.dbias, h.W, h.N);
  }
  free(memory);
}
