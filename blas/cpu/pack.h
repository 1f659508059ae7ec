// Operands of a matrix product rearranged into panels of units (tile.h): [panels][K][width], zero beyond the last column and, in
// the last pair, beyond an odd k.

// matrix is an operand as it lies in memory, seen as columns of length k: column j's element i is at i·ld + j, or, where k runs
// along memory (along), at j·ld + i. rows, if there, are those of memory that k counts, where columns lie side by side.
typedef struct { const void *data; int64_t ld, k, columns; int type, pairs, along; const int32_t *rows; } matrix;

static inline int64_t units(int64_t k, int pairs) { return pairs ? (k + 1) / 2 : k; }

// part is the matrix at units p to p+n of k.
static inline matrix part(matrix m, int64_t p, int64_t n) {
  int64_t at = p << m.pairs, size = size_of(m.type), rest = m.k - at;
  if (m.rows) m.rows += at;
  else m.data = (const char *)m.data + (m.along ? at : at * m.ld) * size;
  m.k = n << m.pairs < rest ? n << m.pairs : rest;
  return m;
}

// row_of is where element i of columns that lie side by side begins.
static inline int64_t row_of(const matrix *m, int64_t i) { return (m->rows ? m->rows[i] : i) * m->ld; }

// units_across reads unit p of columns at to at+n, which lie side by side.
static inline void units_across(float *dst, const matrix *m, int64_t p, int64_t at, int64_t n) {
  if (!m->pairs) { load(dst, m->data, row_of(m, p) + at, n, m->type); return; }
  int whole = 2 * p + 1 < m->k;
  const uint16_t *low = (const uint16_t *)m->data + row_of(m, 2 * p) + at, *high = (const uint16_t *)m->data + row_of(m, 2 * p + whole) + at;
  uint32_t *out = (uint32_t *)dst;
  if (whole) for (int64_t i = 0; i < n; i++) out[i] = low[i] | (uint32_t)high[i] << 16;
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
  enum { SPAN = 24 * PANEL, AHEAD = 32 / LANES };
  int64_t K = units(m->k, m->pairs), size = size_of(m->type), span = ceiling(SPAN, width) * width;
  float wide[SPAN + PANEL];
  for (int64_t at = first; at < last; at += span) {
    int64_t n = least(last - at, span), whole = n / width;
    for (int64_t p = 0; p < K; p++) {
      float *out = dst + (at - first) * K + p * width;
      for (int64_t r = (p + AHEAD) << m->pairs; r < (p + AHEAD + 1) << m->pairs && r < m->k; r++)
        fetch((const char *)m->data + (row_of(m, r) + at) * size, n * size);
      const float *x = m->type == F32 ? (const float *)m->data + row_of(m, p) + at : wide;
      if (x == wide) units_across(wide, m, p, at, n);
      if (sums) add_units(sums + at, x, n, m->pairs);
      for (int64_t t = 0; t < whole; t++) memcpy(out + t * width * K, x + t * width, width * 4);
      if (whole * width < n)
        for (int64_t c = 0; c < width; c++) out[whole * width * K + c] = whole * width + c < n ? x[whole * width + c] : 0;
    }
  }
}

// turn transposes LANES x LANES numbers: in steps of s, rows i and i+s exchange the parts that lie off the diagonal.
static inline __attribute__((always_inline)) void turn(vec x[LANES]) {
  typedef int32_t places __attribute__((vector_size(VECTOR_BYTES)));
#define STAYS(j, s) ((j) & (s) ? LANES + (j) - (s) : (j))
#define COMES(j, s) ((j) & (s) ? LANES + (j) : (j) + (s))
#define FOUR(f, j, s) f(j, s), f((j) + 1, s), f((j) + 2, s), f((j) + 3, s)
#if VECTOR_BYTES == 64
#define ALL(f, s) {FOUR(f, 0, s), FOUR(f, 4, s), FOUR(f, 8, s), FOUR(f, 12, s)}
#elif VECTOR_BYTES == 32
#define ALL(f, s) {FOUR(f, 0, s), FOUR(f, 4, s)}
#else
#define ALL(f, s) {FOUR(f, 0, s)}
#endif
#define EXCHANGE(s)                                                                                               \
  UNROLLED for (int i = 0; i < LANES; i++) {                                                                         \
    if (s >= LANES || i & s) continue;                                                                             \
    vec a = x[i], b = x[i + s];                                                                                    \
    x[i] = __builtin_shuffle(a, b, (places)ALL(STAYS, s)), x[i + s] = __builtin_shuffle(a, b, (places)ALL(COMES, s)); \
  }
  EXCHANGE(1)
  EXCHANGE(2)
  EXCHANGE(4)
  EXCHANGE(8)
#undef STAYS
#undef COMES
#undef FOUR
#undef ALL
#undef EXCHANGE
}

// vector_along reads LANES whole units from p on of column j.
static inline vec vector_along(const matrix *m, int64_t j, int64_t p) {
  if (m->pairs) return widened((const uint16_t *)m->data + j * m->ld + 2 * p, 0, F32);
  return widened(m->data, j * m->ld + p, m->type);
}

// pack_along packs columns first to last of a matrix whose columns run along memory into panels of PANEL: a transposition of units.
static void pack_along(float *dst, const matrix *m, int64_t first, int64_t last) {
  int64_t K = units(m->k, m->pairs), whole = m->k >> m->pairs;
  for (int64_t at = first; at < last; at += PANEL, dst += K * PANEL)
    for (int64_t p = 0; p < K; p += LANES)
      for (int64_t c = 0; c < PANEL; c += LANES) {
        vec x[LANES] = {};
        int64_t n = least(last - at - c, LANES), depth = least(K - p, LANES);
        if (n == LANES && p + LANES <= whole) for (int64_t j = 0; j < LANES; j++) x[j] = vector_along(m, at + c + j, p);
        else for (int64_t j = 0; j < n; j++) units_along((float *)(x + j), m, at + c + j, p, depth);
        turn(x);
        for (int64_t q = 0; q < depth; q++) memcpy(dst + (p + q) * PANEL + c, x + q, sizeof *x);
      }
}

// pack packs columns first to last into panels of width PANEL or, where columns lie side by side, TILE_ROWS.
static void pack(int64_t width, float *dst, const matrix *m, int64_t first, int64_t last, float *sums) {
  if (m->along) pack_along(dst, m, first, last);
  else if (width == PANEL) pack_across(PANEL, dst, m, first, last, sums);
  else pack_across(TILE_ROWS, dst, m, first, last, sums);
}
