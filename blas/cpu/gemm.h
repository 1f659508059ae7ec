// C = epilogue(op(A)·op(B)) in tiles of TILE_ROWS x PANEL, each finished while it is in the first-level cache.
//
// One operand's panels stay in a thread's second-level cache, a block of them at a time, while the other's stream past. Where A is
// read as it lies, B, the weight, stays. Else A, which must be turned, widened or copied, is packed once: A stays, and B is packed for all
// threads before; or, for a weight gradient with fewer rows than columns, the other way round.
//
// What drop path has dropped is left out: panels of A hold live rows of C only as far as they go on, and a weight gradient's k counts live
// rows. Threads take blocks of what is live as they come to them, so that none waits for one whose core has other work. Who computes a tile
// changes no bit of it.

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
    .m = n[0], .n = n[1], .per = n[9] > 0 ? n[9] : 1, .type = n[5], .type_c = n[6], .epilogue = n[7], .accumulate = n[8]};
}

// gemm_plan is how the work lies: what stays, what is packed for all, and the room that it takes, in floats. k is cut into parts of
// at most MOST_UNITS, so that panels of both operands fit the caches; tiles wait for the next part as float32.
typedef struct {
  int64_t K, parts, panels_a, panels_b, step; // step: panels of a block
  int64_t shared, own, waiting, each; // each thread's own and waiting, its list of live panels, and of a weight gradient's live rows
  int stays_a;  // A's panels stay, B's stream
  int packed_a; // A is turned into panels, not read as rows
  int direct;   // A is read where it lies
  int ta, tb;   // threads along A's and B's panels
} gemm_plan;

enum { TILE = TILE_ROWS * PANEL, LEAST = 2 }; // LEAST: panels of a block

static gemm_plan gemm_planned(const gemm_job *g, int64_t budget, int threads) {
  gemm_plan w = {.K = units(g->a.k, g->a.pairs), .panels_a = ceiling(g->m, TILE_ROWS), .panels_b = ceiling(g->n, PANEL)};
  w.parts = w.K ? ceiling(w.K, MOST_UNITS) : 1;
  w.packed_a = !g->a.along;
  w.direct = DIRECT && !w.packed_a && (g->type == F32 || (g->a.pairs && g->a.k % 2 == 0));
  w.stays_a = !w.direct && (!w.packed_a || g->m >= g->n);
  int64_t best = INT64_MAX; // in tiles; packing a panel of A takes about as long as one, a panel of B three
  for (int ta = 1; ta <= threads; ta++) {
    int tb = threads / ta;
    int64_t a = ceiling(w.panels_a, ta), b = ceiling(w.panels_b, tb), work = a * b + (w.stays_a ? a : 3 * b);
    if (ta * tb == threads && work < best) best = work, w.ta = ta, w.tb = tb;
  }
  int64_t mine_a = ceiling(w.panels_a, w.ta), mine_b = ceiling(w.panels_b, w.tb), mine = w.stays_a ? mine_a : mine_b;
  int64_t width = w.stays_a ? TILE_ROWS : PANEL, depth = ceiling(w.K, w.parts), most = budget / (depth * width * 4 + 1);
  w.step = ceiling(mine, ceiling(mine, most < 1 ? 1 : most)); // blocks of one size
  if (!w.direct) w.shared = ceiling((w.stays_a ? w.panels_b * PANEL : w.panels_a * TILE_ROWS) * w.K, 16) * 16;
  w.own = ceiling(w.step * width * depth, 16) * 16;
  if (w.parts > 1) w.waiting = w.step * (w.stays_a ? mine_b : mine_a) * TILE;
  w.each = w.own + w.waiting + ceiling(2 * w.panels_a + (w.packed_a ? g->a.k : 0), 16) * 16;
  return w;
}

// span is the rows of C that a panel of A is for.
typedef struct { int32_t first, rows; } span;

// live_panels lists the panels that have a live row, from the first such to the last, and returns their number.
static int64_t live_panels(const gemm_job *g, span *out) {
  int64_t count = 0;
  for (int64_t lo = 0; lo < g->m; lo += TILE_ROWS) {
    int64_t first = lo, end = least(first + TILE_ROWS, g->m);
    while (first < end && !is_live(g->keep, first / g->per)) first++;
    while (first < end && !is_live(g->keep, (end - 1) / g->per)) end--;
    if (first < end) out[count++] = (span){first, end - first};
  }
  return count;
}

// live_terms leaves dropped samples out of a weight gradient's k.
static void live_terms(gemm_job *g, int32_t *rows) {
  int64_t n = 0;
  for (int64_t r = 0; r < g->a.k; r++) if (is_live(g->keep, r / g->per)) rows[n++] = r;
  if (n < g->a.k) g->a.rows = g->b.rows = rows, g->a.k = g->b.k = n;
  g->keep = NULL;
}

// read_row and write_row move columns of a row of a tile of type t, PANEL of them in registers; of fewer the rest counts 0.
static inline __attribute__((always_inline)) void read_row(vec x[2], const void *src, int64_t at, const int64_t columns, int t) {
  float row[PANEL] = {};
  if (columns < PANEL) load(row, src, at, columns, t), src = row, at = 0, t = F32;
  x[0] = widened(src, at, t), x[1] = widened(src, at + LANES, t);
}

static inline __attribute__((always_inline)) void write_row(void *dst, int64_t at, const vec x[2], const int64_t columns, int t) {
  float row[PANEL];
  if (columns < PANEL) *(vec *)row = x[0], *(vec *)(row + LANES) = x[1], save(dst, at, row, columns, t);
  else narrowed(dst, at, x[0], t), narrowed(dst, at + LANES, x[1], t);
}

// finish takes the product of some rows and columns from x [rows, PANEL] to C, but for dropped rows. columns is a constant where it is PANEL.
static inline __attribute__((always_inline)) void finish(const gemm_job *g, const float *product, int64_t i, int64_t rows, int64_t j, const int64_t columns) {
  vec x[2], y[2], bias[2] = {};
  float keep = 1;
  int64_t sample = i / g->per, left = i % g->per - g->per; // rows to the sample's end, negative
  if (g->bias) read_row(bias, g->bias, j, columns, F32);
  for (int64_t r = 0; r < rows; r++) {
    int64_t at = (i + r) * g->n + j;
    if (g->keep) {
      keep = g->keep[sample];
      if (++left == 0) sample++, left = -g->per;
      if (keep == 0) continue;
    }
    read_row(x, product, r * PANEL, PANEL, F32);
    if (g->bias) x[0] += bias[0], x[1] += bias[1];
    switch (g->epilogue) {
    case 2: // bias+gelu, of Aux as stored
      write_row(g->aux, at, x, columns, g->type);
      read_row(x, g->aux, at, columns, g->type);
      x[0] = gelu(x[0]), x[1] = gelu(x[1]);
      break;
    case 3: // gelu'
      read_row(y, g->aux, at, columns, g->type);
      x[0] *= gelu_grad(y[0]), x[1] *= gelu_grad(y[1]);
      break;
    case 4: // residual
      read_row(y, g->residual, at, columns, F32);
      x[0] = y[0] + keep * x[0], x[1] = y[1] + keep * x[1];
      break;
    default:
      if (g->accumulate) {
        read_row(y, g->c, at, columns, g->type_c);
        x[0] += y[0], x[1] += y[1];
      }
    }
    write_row(g->c, at, x, columns, g->type_c);
  }
}

// rows_ahead is the tile's part of a tensor of type t of C's shape.
static inline ahead rows_ahead(const gemm_job *g, const void *tensor, int64_t i, int64_t j, int t) {
  int64_t size = size_of(t);
  return (ahead){(const char *)tensor + (i * g->n + j) * size, g->n * size, ceiling(PANEL * size, LINE)};
}

// share is one tile's share of a panel that the next n tiles have to ask for.
static inline ahead share(const float *panel, int64_t numbers, int64_t tile, int64_t n) {
  int64_t bytes = numbers * 4 / n, lines = bytes / (LINE * TILE_ROWS) + 1;
  return (ahead){(const char *)panel + bytes * tile, lines * LINE, lines};
}

// gemm_tile adds a part of k to the tile x of rows s, A's panel a, and B's panel ib, and finishes it after the last part. Meanwhile it asks for
// what that will touch, and for next.
static void gemm_tile(const gemm_job *g, const gemm_plan *w, tiles *f, int64_t depth, int64_t part, float *x, span s, const float *a,
    int64_t ar, int64_t ib, const float *b, ahead next) {
  int64_t i = s.first, j = ib * PANEL, rows = s.rows;
  int last = part + 1 == w->parts;
  ahead soon[AHEADS] = {next};
  if (last) {
    soon[1] = rows_ahead(g, g->c, i, j, g->type_c);
    if (g->epilogue == 2 || g->epilogue == 3) soon[2] = rows_ahead(g, g->aux, i, j, g->type);
    if (g->epilogue == 4) soon[2] = rows_ahead(g, g->residual, i, j, F32);
  }
  f(rows, depth, a, ar, b, x, PANEL, part > 0, soon);
  if (!last) return;
  if (g->n - j >= PANEL) finish(g, x, i, rows, j, PANEL);
  else finish(g, x, i, rows, j, g->n - j);
}

// gemm_rows streams A past B's blocks. A packed panel is asked for ahead; rows that are read as they lie the processor finds by itself.
static void gemm_rows(const gemm_job *g, const gemm_plan *w, const thread *me, const span *live, const float *shared, float *own, int64_t a0,
    int64_t a1) {
  tiles *f = tiles_for(w->packed_a, g->a.pairs);
  float one[TILE] __attribute__((aligned(64))), *waiting = own + w->own;
  int64_t ld = g->a.ld >> g->a.pairs; // in units, where A is direct
  for (int64_t lo, hi; claim(me, me->number % w->ta, w->panels_b, w->tb, w->step, LEAST, &lo, &hi);)
    for (int64_t q = 0; q < w->parts; q++) {
      int64_t n = hi - lo, k0 = w->K * q / w->parts, depth = w->K * (q + 1) / w->parts - k0;
      matrix b = part(g->b, k0, depth);
      pack(PANEL, own, &b, lo * PANEL, least(hi * PANEL, g->n), NULL);
      for (int64_t i = a0; i < a1; i++)
        for (int64_t j = 0; j < n; j++) {
          float *x = w->parts > 1 ? waiting + ((i - a0) * n + j) * TILE : one;
          if (w->direct) {
            const float *a = (const float *)g->a.data + live[i].first * ld + k0;
            gemm_tile(g, w, f, depth, q, x, live[i], a, ld, lo + j, own + j * PANEL * depth, (ahead){});
          } else {
            const float *a = shared + w->panels_a * TILE_ROWS * k0 + i * TILE_ROWS * depth;
            ahead next = i + 1 < a1 ? share(a + TILE_ROWS * depth, TILE_ROWS * depth, j, n) : (ahead){};
            gemm_tile(g, w, f, depth, q, x, live[i], a, 0, lo + j, own + j * PANEL * depth, next);
          }
        }
    }
}

// gemm_columns streams the packed B past A's blocks.
static void gemm_columns(const gemm_job *g, const gemm_plan *w, const thread *me, const span *live, int64_t panels, const float *shared, float *own,
    int64_t b0, int64_t b1, float *sums) {
  tiles *f = tiles_for(w->packed_a, g->a.pairs);
  float one[TILE] __attribute__((aligned(64))), *waiting = own + w->own;
  for (int64_t lo, hi; claim(me, me->number / w->ta, panels, w->ta, w->step, LEAST, &lo, &hi);)
    for (int64_t q = 0; q < w->parts; q++) {
      int64_t n = hi - lo, k0 = w->K * q / w->parts, depth = w->K * (q + 1) / w->parts - k0;
      matrix a = part(g->a, k0, depth);
      if (w->packed_a) pack(TILE_ROWS, own, &a, live[lo].first, live[hi - 1].first + live[hi - 1].rows, sums);
      else for (int64_t i = lo; i < hi; i++)
        for (int64_t r = 0; r < live[i].rows; r++) units_along(own + ((i - lo) * TILE_ROWS + r) * depth, &a, live[i].first + r, 0, depth);
      for (int64_t j = b0; j < b1; j++)
        for (int64_t i = 0; i < n; i++) {
          const float *b = shared + w->panels_b * PANEL * k0 + j * PANEL * depth;
          float *x = w->parts > 1 ? waiting + ((j - b0) * n + i) * TILE : one;
          ahead next = j + 1 < b1 ? share(b + PANEL * depth, PANEL * depth, i, n) : (ahead){};
          gemm_tile(g, w, f, depth, q, x, live[lo + i], own + i * TILE_ROWS * depth, depth, j, b, next);
        }
    }
}

// gemm_shared packs one thread's share of the operand that is packed for all.
static void gemm_shared(const gemm_job *g, const gemm_plan *w, const thread *me, float *shared) {
  int64_t width = w->stays_a ? PANEL : TILE_ROWS, panels = w->stays_a ? w->panels_b : w->panels_a;
  int64_t lo = panels * me->number / me->count * width, hi = panels * (me->number + 1) / me->count * width;
  for (int64_t q = 0; q < w->parts; q++) {
    int64_t k0 = w->K * q / w->parts, depth = w->K * (q + 1) / w->parts - k0;
    matrix m = part(w->stays_a ? g->b : g->a, k0, depth);
    pack(width, shared + panels * width * k0 + lo * depth, &m, lo, least(hi, m.columns), w->stays_a ? NULL : g->colsum);
  }
}

// p, n as gemm_of. ColSum must be given with a transposed A only.
static void gemm(const thread *me, void **p, const int64_t *n, const double *_) {
  gemm_job g = gemm_of(p, n);
  gemm_plan w = gemm_planned(&g, n[10], me->count);
  float *shared = p[8], *own = shared + w.shared + me->number * w.each;
  span *live = (span *)(own + w.own + w.waiting);
  if (g.keep && w.packed_a) live_terms(&g, (int32_t *)(live + w.panels_a)), w.K = units(g.a.k, g.a.pairs);
  if (!w.direct) {
    gemm_shared(&g, &w, me, shared);
    meet(me);
  }
  int64_t panels = live_panels(&g, live), ia = me->number % w.ta, ib = me->number / w.ta;
  if (w.stays_a) gemm_columns(&g, &w, me, live, panels, shared, own, w.panels_b * ib / w.tb, w.panels_b * (ib + 1) / w.tb, ib == 0 ? g.colsum : NULL);
  else gemm_rows(&g, &w, me, live, shared, own, panels * ia / w.ta, panels * (ia + 1) / w.ta);
  if (g.keep && g.epilogue == 4 && g.c != g.residual)
    for_mine(r, g.m)
      if (!is_live(g.keep, r / g.per)) memcpy((float *)g.c + r * g.n, g.residual + r * g.n, g.n * 4);
}

// p: result (int64), then as gemm: the bytes of room that it needs.
static void gemm_room(const thread *me, void **p, const int64_t *n, const double *_) {
  void *q[10] = {0};
  gemm_job g = gemm_of(q, n);
  gemm_plan w = gemm_planned(&g, n[10], me->count);
  *(int64_t *)p[0] = (w.shared + me->count * w.each) * 4;
}
