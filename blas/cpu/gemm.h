// C = epilogue(op(A)·op(B)) in tiles of TILE_ROWS x PANEL, each finished while it is in the first-level cache.
//
// One operand's panels stay in a thread's second-level cache, a block of them at a time, while the other's stream past. For a
// layer's forward pass and its input gradient B, the weight, stays, and A streams from where it lies. For a weight gradient both
// operands must be turned; the smaller one is packed once for all threads, the larger one block by block.

#include "tile.h"
#include "pack.h"

typedef struct {
  void *c, *aux;
  const float *bias, *residual, *keep;
  float *colsum;
  matrix a, b; // columns of a are C's rows
  int64_t m, n, per;
  int type, type_c, epilogue, accumulate;
} gemm_job;

// p: C, A, B, Bias, Aux, Residual, Keep, ColSum, room; n: m, n, k, transA, transB, type, C's type, epilogue, accumulate, rows per
// factor, bytes of a block that stays in cache
static gemm_job gemm_of(void **p, const int64_t *n) {
  int pairs = multiplies_pairs(n[5]);
  return (gemm_job){
    .c = p[0], .aux = p[4], .bias = p[3], .residual = p[5], .keep = p[6], .colsum = p[7],
    .a = {p[1], n[3] ? n[0] : n[2], n[2], n[0], n[5], pairs, !n[3]}, .b = {p[2], n[4] ? n[2] : n[1], n[2], n[1], n[5], pairs, n[4]},
    .m = n[0], .n = n[1], .per = n[9], .type = n[5], .type_c = n[6], .epilogue = n[7], .accumulate = n[8]};
}

// gemm_plan is how the work lies: what stays, what is packed for all, and the room that both take, in floats.
typedef struct {
  int64_t K, panels_a, panels_b, step, shared, own; // step: panels of a block
  int stays_a;  // A's panels stay, B's stream
  int packed_a; // A is packed in panels, not read as rows
  int direct;   // A is read where it lies
  int ta, tb;   // threads along A's and B's panels
} gemm_plan;

static inline int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

static gemm_plan gemm_planned(const gemm_job *g, int64_t budget, int threads) {
  gemm_plan w = {.K = units(g->a.k, g->a.pairs), .panels_a = ceiling(g->m, TILE_ROWS), .panels_b = ceiling(g->n, PANEL)};
  w.packed_a = !g->a.along;
  w.stays_a = w.packed_a && g->m >= g->n;
  w.direct = !w.packed_a && (g->type == F32 || (g->a.pairs && g->a.k % 2 == 0));
  int64_t best = INT64_MAX;
  for (int ta = 1; ta <= threads; ta++) {
    int tb = threads / ta;
    int64_t work = ceiling(w.panels_a, ta) * ceiling(w.panels_b, tb);
    if (ta * tb == threads && (work < best || (work == best && w.stays_a))) best = work, w.ta = ta, w.tb = tb;
  }
  int64_t width = w.stays_a ? TILE_ROWS : PANEL, mine = w.stays_a ? ceiling(w.panels_a, w.ta) : ceiling(w.panels_b, w.tb);
  int64_t most = budget / (w.K * width * 4 + 1);
  w.step = ceiling(mine, ceiling(mine, most < 1 ? 1 : most)); // blocks of one size
  if (w.packed_a) w.shared = w.stays_a ? w.panels_b * PANEL * w.K : w.panels_a * TILE_ROWS * w.K;
  w.own = w.step * width * w.K + (w.packed_a || w.direct ? 0 : TILE_ROWS * w.K);
  w.shared = ceiling(w.shared, 16) * 16, w.own = ceiling(w.own, 16) * 16;
  return w;
}

// finish takes the product of some rows and columns from x [rows, PANEL] to C. columns is a constant where it is PANEL.
static inline __attribute__((always_inline)) void finish(const gemm_job *g, float *x, int64_t i, int64_t rows, int64_t j, const int64_t columns) {
  float y[PANEL];
  for (int64_t r = 0; r < rows; r++, x += PANEL) {
    int64_t at = (i + r) * g->n + j;
    if (g->bias) for (int64_t c = 0; c < columns; c++) x[c] += g->bias[j + c];
    switch (g->epilogue) {
    case 2: // bias+gelu, of Aux as stored
      save(g->aux, at, x, columns, g->type);
      load(x, g->aux, at, columns, g->type);
      for (int64_t c = 0; c < columns; c++) x[c] = gelu(x[c]);
      break;
    case 3: // gelu'
      load(y, g->aux, at, columns, g->type);
      for (int64_t c = 0; c < columns; c++) x[c] *= gelu_grad(y[c]);
      break;
    case 4: { // residual
      float keep = g->keep ? g->keep[(i + r) / g->per] : 1;
      for (int64_t c = 0; c < columns; c++) x[c] = g->residual[at + c] + keep * x[c];
      break;
    }
    default:
      if (g->accumulate) {
        load(y, g->c, at, columns, g->type_c);
        for (int64_t c = 0; c < columns; c++) x[c] += y[c];
      }
    }
    save(g->c, at, x, columns, g->type_c);
  }
}

// gemm_tile computes and finishes the tile of A's panel ia and B's panel ib.
static void gemm_tile(const gemm_job *g, const gemm_plan *w, tiles *f, int64_t ia, const float *a, int64_t ar, int64_t ib, const float *b) {
  float x[TILE_ROWS * PANEL] __attribute__((aligned(64)));
  int64_t i = ia * TILE_ROWS, j = ib * PANEL, rows = g->m - i < TILE_ROWS ? g->m - i : TILE_ROWS;
  f(rows, w->K, a, ar, b, x, PANEL);
  if (g->n - j >= PANEL) finish(g, x, i, rows, j, PANEL);
  else finish(g, x, i, rows, j, g->n - j);
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// gemm_rows streams A past B's blocks.
static void gemm_rows(const gemm_job *g, const gemm_plan *w, const float *shared, float *own, int64_t a0, int64_t a1, int64_t b0, int64_t b1) {
  tiles *f = tiles_for(w->packed_a, g->a.pairs);
  int64_t K = w->K, size = g->type == F32 ? 4 : 2;
  float *rows = own + w->step * PANEL * K;
  for (int64_t lo = b0; lo < b1; lo += w->step) {
    int64_t hi = least(lo + w->step, b1);
    pack(PANEL, own, &g->b, lo * PANEL, least(hi * PANEL, g->n), NULL);
    for (int64_t i = a0; i < a1; i++) {
      const float *a = rows;
      int64_t ar = K, first = i * TILE_ROWS;
      if (w->packed_a) a = shared + first * K;
      else if (w->direct) a = (const float *)((const char *)g->a.data + first * g->a.ld * size), ar = g->a.ld * size / 4;
      else for (int64_t r = first; r < least(first + TILE_ROWS, g->m); r++) units_along(rows + (r - first) * K, &g->a, r, 0, K);
      for (int64_t j = lo; j < hi; j++) gemm_tile(g, w, f, i, a, ar, j, own + (j - lo) * PANEL * K);
    }
  }
}

// gemm_columns streams the packed B past A's blocks.
static void gemm_columns(const gemm_job *g, const gemm_plan *w, const float *shared, float *own, int64_t a0, int64_t a1, int64_t b0, int64_t b1, float *sums) {
  tiles *f = tiles_for(1, g->a.pairs);
  int64_t K = w->K;
  for (int64_t lo = a0; lo < a1; lo += w->step) {
    int64_t hi = least(lo + w->step, a1);
    pack(TILE_ROWS, own, &g->a, lo * TILE_ROWS, least(hi * TILE_ROWS, g->m), sums);
    for (int64_t j = b0; j < b1; j++)
      for (int64_t i = lo; i < hi; i++) gemm_tile(g, w, f, i, own + (i - lo) * TILE_ROWS * K, 0, j, shared + j * PANEL * K);
  }
}

// p, n as gemm_of. ColSum must be given with a transposed A only.
static void gemm(void **p, const int64_t *n, const double *_) {
  gemm_job g = gemm_of(p, n);
  gemm_plan w = gemm_planned(&g, n[10], omp_get_max_threads());
#pragma omp parallel
  {
    int t = omp_get_thread_num(), T = omp_get_num_threads();
    float *shared = p[8], *own = shared + w.shared + t * w.own;
    if (w.packed_a) {
      int64_t width = w.stays_a ? PANEL : TILE_ROWS, panels = w.stays_a ? w.panels_b : w.panels_a;
      int64_t lo = panels * t / T * width, hi = least(panels * (t + 1) / T * width, w.stays_a ? g.n : g.m);
      pack(width, shared + lo * w.K, w.stays_a ? &g.b : &g.a, lo, hi, w.stays_a ? NULL : g.colsum);
#pragma omp barrier
    }
    int ia = t % w.ta, ib = t / w.ta;
    int64_t a0 = w.panels_a * ia / w.ta, a1 = w.panels_a * (ia + 1) / w.ta, b0 = w.panels_b * ib / w.tb, b1 = w.panels_b * (ib + 1) / w.tb;
    if (w.stays_a) gemm_columns(&g, &w, shared, own, a0, a1, b0, b1, ib == 0 ? g.colsum : NULL);
    else gemm_rows(&g, &w, shared, own, a0, a1, b0, b1);
  }
}

// p: result (int64), then as gemm: the bytes of room that it needs.
static void gemm_room(void **p, const int64_t *n, const double *_) {
  void *q[10] = {0};
  gemm_job g = gemm_of(q, n);
  int threads = omp_get_max_threads();
  gemm_plan w = gemm_planned(&g, n[10], threads);
  *(int64_t *)p[0] = (w.shared + threads * w.own) * 4;
}
