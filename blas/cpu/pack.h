// Operands of a matrix product rearranged into panels of units (tile.h): [panels][K][width], zero beyond the last column and, in
// the last pair, beyond an odd k.

// matrix is an operand as it lies in memory, seen as columns of length k: column j's element i is at i·ld + j, or, where k runs
// along memory (along), at j·ld + i.
typedef struct { const void *data; int64_t ld, k, columns; int type, pairs, along; } matrix;

static inline int64_t units(int64_t k, int pairs) { return pairs ? (k + 1) / 2 : k; }

// part is the matrix at units p to p+n of k.
static inline matrix part(matrix m, int64_t p, int64_t n) {
  int64_t at = p << m.pairs, size = size_of(m.type), rest = m.k - at;
  m.data = (const char *)m.data + (m.along ? at : at * m.ld) * size;
  m.k = n << m.pairs < rest ? n << m.pairs : rest;
  return m;
}

// units_across reads unit p of columns at to at+n, which lie side by side.
static inline void units_across(float *dst, const matrix *m, int64_t p, int64_t at, int64_t n) {
  if (!m->pairs) { load(dst, m->data, p * m->ld + at, n, m->type); return; }
  const uint16_t *low = (const uint16_t *)m->data + 2 * p * m->ld + at, *high = low + m->ld;
  uint32_t *out = (uint32_t *)dst;
  if (2 * p + 1 < m->k) for (int64_t i = 0; i < n; i++) out[i] = low[i] | (uint32_t)high[i] << 16;
  else for (int64_t i = 0; i < n; i++) out[i] = low[i];
}

// units_along reads units p to p+n of column j, which lie one behind the other.
static inline void units_along(float *dst, const matrix *m, int64_t j, int64_t p, int64_t n) {
  if (!m->pairs) { load(dst, m->data, j * m->ld + p, n, m->type); return; }
  const uint16_t *src = (const uint16_t *)m->data + j * m->ld + 2 * p;
  int64_t whole = 2 * (p + n) > m->k ? n - 1 : n;
  memcpy(dst, src, whole * 4);
  if (whole < n) ((uint32_t *)dst)[whole] = src[2 * whole];
}

// add_units adds one row of units to sums, number by number.
static inline void add_units(float *sums, const float *x, int64_t n, int pairs) {
  const uint32_t *u = (const uint32_t *)x;
  if (pairs) for (int64_t i = 0; i < n; i++) sums[i] += number(u[i] << 16) + number(u[i] & 0xffff0000);
  else for (int64_t i = 0; i < n; i++) sums[i] += x[i];
}

// fetch asks for bytes that will be needed soon, into the second-level cache.
static inline void fetch(const void *p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + i, 0, 2);
}

// pack_across packs columns first to last of a matrix whose columns lie side by side, and adds them to sums, if given. Some
// panels at a time, so that few places are written at once. Rows lie on pages of their own, where no processor looks ahead.
static inline __attribute__((always_inline)) void pack_across(const int width, float *dst, const matrix *m, int64_t first, int64_t last, float *sums) {
  enum { SPAN = 8 * PANEL, AHEAD = 8 };
  int64_t K = units(m->k, m->pairs), size = size_of(m->type), span = SPAN / width * width;
  float x[SPAN];
  for (int64_t at = first; at < last; at += span) {
    int64_t n = last - at < span ? last - at : span, whole = n / width;
    for (int64_t p = 0; p < K; p++) {
      float *out = dst + (at - first) * K + p * width;
      for (int64_t r = (p + AHEAD) << m->pairs; r < (p + AHEAD + 1) << m->pairs && r < m->k; r++)
        fetch((const char *)m->data + (r * m->ld + at) * size, n * size);
      units_across(x, m, p, at, n);
      if (sums) add_units(sums + at, x, n, m->pairs);
      for (int64_t t = 0; t < whole; t++) memcpy(out + t * width * K, x + t * width, width * 4);
      if (whole * width < n)
        for (int64_t c = 0; c < width; c++) out[whole * width * K + c] = whole * width + c < n ? x[whole * width + c] : 0;
    }
  }
}

// pack_along packs columns first to last of a matrix whose columns run along memory: a transposition of units.
static inline __attribute__((always_inline)) void pack_along(const int width, float *dst, const matrix *m, int64_t first, int64_t last) {
  enum { DEPTH = 16 };
  int64_t K = units(m->k, m->pairs);
  float x[PANEL][DEPTH];
  for (int64_t at = first; at < last; at += width, dst += K * width) {
    int64_t n = last - at < width ? last - at : width;
    memset(x, 0, sizeof x);
    for (int64_t p = 0; p < K; p += DEPTH) {
      int64_t depth = K - p < DEPTH ? K - p : DEPTH;
      for (int64_t c = 0; c < n; c++) {
        if (depth == DEPTH) units_along(x[c], m, at + c, p, DEPTH);
        else units_along(x[c], m, at + c, p, depth);
      }
      for (int64_t q = 0; q < depth; q++)
        for (int64_t c = 0; c < width; c++) dst[(p + q) * width + c] = x[c][q];
    }
  }
}

// pack packs columns first to last into panels of width PANEL or TILE_ROWS.
static void pack(int64_t width, float *dst, const matrix *m, int64_t first, int64_t last, float *sums) {
  if (m->along) {
    if (width == PANEL) pack_along(PANEL, dst, m, first, last);
    else pack_along(TILE_ROWS, dst, m, first, last);
  } else {
    if (width == PANEL) pack_across(PANEL, dst, m, first, last, sums);
    else pack_across(TILE_ROWS, dst, m, first, last, sums);
  }
}
