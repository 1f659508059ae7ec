// The product of two panels in registers: the heart of every matrix product and of attention.
//
// A unit is what one multiply-add takes along k: one float32, or a pair of bfloat16 where the processor multiplies pairs.
// B is packed, PANEL columns wide: [K][PANEL] units. A's panel is rows of units, stride ar; or packed as B is, [K][TILE_ROWS]; or it lies
// across, unit by unit, stride ar. The sum over k of one element runs in one register in order, so that no blocking changes a bit.

enum { PANEL = 2 * LANES };

static inline __attribute__((always_inline)) vec multiply_add(vec sum, const float *x, vec b, const int pairs) {
#ifdef PAIRS
  if (pairs) return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(*x), (__m512bh)b);
#endif
#if VECTOR_BYTES == 32
  // In words of its own: gcc multiplies into b or *x at times, and with 16 registers has to move and to spill a sum for it, 8 % of a product.
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(_mm256_broadcast_ss(x)), "x"(b));
  return sum;
#else
  return sum + *x * b;
#endif
}

// ahead is what a tile asks for while it is multiplied, so that memory's answers come in between and not in one burst: TILE_ROWS times
// a run of cache lines, a step apart.
typedef struct { const char *at; int64_t step; int lines; } ahead;
enum { AHEADS = 3, LINE = 64 };

static inline void ask(const ahead *s, int64_t time) {
  for (int i = 0; i < AHEADS; i++)
    for (int l = 0; l < s[i].lines; l++) __builtin_prefetch(s[i].at + time * s[i].step + l * LINE, 0, 2);
}

enum { UNROLL = 4 };              // units of k
enum { ROWWISE, PACKED, ACROSS }; // how A lies

// multiply is C [rows, PANEL] = A·B over K units, or, with more, C + A·B in the same order as if k had never been cut; with half, the
// left half of a panel. Its loads of A cost one address register for three rows. soon is AHEADS runs, or nothing; lines, if there, are
// addresses, one for UNROLL units, that it asks for one by one.
static inline __attribute__((always_inline)) void multiply(const int rows, const int half, const int layout, const int pairs, int64_t K, const float *a,
    int64_t ar, const float *b, float *c, int64_t ldc, int more, const ahead *soon, const char *const *lines) {
  enum { B_AHEAD = 512 / PANEL * PANEL };
  vec sum[TILE_ROWS][2] = {};
  if (more) {
    UNROLLED for (int r = 0; r < rows; r++) {
      sum[r][0] = *(const vec *)(c + r * ldc);
      if (!half) sum[r][1] = *(const vec *)(c + r * ldc + LANES);
    }
  }
  const float *q[(TILE_ROWS + 2) / 3];
  for (int i = 0; i < (TILE_ROWS + 2) / 3; i++) q[i] = a + 3 * i * ar;
#define STEP(u)                                                                                                    \
  {                                                                                                                \
    vec b0 = *(const vec *)(b + (u) * PANEL), b1 = *(const vec *)(b + (u) * PANEL + LANES);                            \
    if (LANES == 16 || layout != ROWWISE) __builtin_prefetch(b + (u) * PANEL + B_AHEAD);                               \
    if (LANES == 16 && !half) __builtin_prefetch(b + (u) * PANEL + LANES + B_AHEAD);                                   \
    UNROLLED for (int r = 0; r < rows; r++) {                                                                          \
      const float *x = layout == ROWWISE ? q[r / 3] + (r % 3) * ar + (u) : a + (u) * ar + r;                           \
      sum[r][0] = multiply_add(sum[r][0], x, b0, pairs);                                                               \
      if (!half) sum[r][1] = multiply_add(sum[r][1], x, b1, pairs);                                                    \
    }                                                                                                                  \
  }
#define ADVANCE(u)                                                                                                 \
  {                                                                                                                \
    b += (u) * PANEL, a += (u) * ar;                                                                                   \
    UNROLLED for (int i = 0; i < (TILE_ROWS + 2) / 3; i++) q[i] += u;                                                  \
  }
  if (layout == PACKED) ar = TILE_ROWS;
  int64_t p = 0, times = soon ? TILE_ROWS : 1;
  for (int64_t time = 0; time < times; time++) {
    for (int64_t end = soon ? K * (time + 1) / TILE_ROWS : K; p + UNROLL <= end; p += UNROLL) {
      UNROLLED for (int u = 0; u < UNROLL; u++) STEP(u)
      ADVANCE(UNROLL)
      if (lines) __builtin_prefetch(*lines++, 0, 2);
    }
    if (soon) ask(soon, time);
  }
  for (; p < K; p++) {
    STEP(0)
    ADVANCE(1)
  }
#undef STEP
#undef ADVANCE
  UNROLLED for (int r = 0; r < rows; r++) {
    *(vec *)(c + r * ldc) = sum[r][0];
    if (!half) *(vec *)(c + r * ldc + LANES) = sum[r][1];
  }
}

#define EACH(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) // number of rows

// TILES makes the function for one layout of A and one kind of unit: any number of rows up to TILE_ROWS, each its own code.
#define ROWS(r) case r: if (r <= TILE_ROWS) multiply(r <= TILE_ROWS ? r : 1, 0, kept, pairs_, K, a, ar, b, c, ldc, more, soon, NULL); break;
#define TILES(name, layout, kind)                                                                                          \
  static __attribute__((noinline)) void name(int64_t rows, int64_t K, const float *a, int64_t ar, const float *b, float *c, int64_t ldc, int more, \
      const ahead *soon) {                                                                                               \
    enum { kept = layout, pairs_ = kind };                                                                                \
    switch (rows) { EACH(ROWS) }                                                                                           \
  }
typedef void tiles(int64_t rows, int64_t K, const float *a, int64_t ar, const float *b, float *c, int64_t ldc, int more, const ahead *soon);
TILES(tiles_rows, ROWWISE, 0)
TILES(tiles_packed, PACKED, 0)
#ifdef PAIRS
TILES(tiles_rows_pairs, ROWWISE, 1)
TILES(tiles_packed_pairs, PACKED, 1)
#endif

// tiles_for is the function for type t, A packed or as rows.
static inline tiles *tiles_for(int packed, int pairs) {
#ifdef PAIRS
  if (pairs) return packed ? tiles_packed_pairs : tiles_rows_pairs;
#endif
  return packed ? tiles_packed : tiles_rows;
}

// strip is C [rows, columns] = A·B over K units for several panels of B; of the last, half may do. It knows less than a tile can, which is
// worth 10 % where k is short, and asks for lines, K / UNROLL in a panel. It returns those that are left.
static inline __attribute__((always_inline)) const char *const *strip(const int rows, const int layout, const int pairs, int64_t K, const float *a,
    int64_t ar, const float *b, float *c, int64_t ldc, int64_t columns, const char *const *lines) {
  for (int64_t j = 0; j < columns; j += PANEL, lines += K / UNROLL) {
    if (j + LANES < columns) multiply(rows, 0, layout, pairs, K, a, ar, b + j * K, c + j, ldc, 0, NULL, lines);
    else multiply(rows, 1, layout, pairs, K, a, ar, b + j * K, c + j, ldc, 0, NULL, lines);
  }
  return lines;
}

#define STRIP_ROWS(r) \
  case r: return r <= TILE_ROWS ? strip(r <= TILE_ROWS ? r : 1, kept, pairs_, K, a, ar, b, c, ldc, columns, lines) : lines;
#define STRIPS(name, layout, kind)                                                                                        \
  static __attribute__((noinline)) const char *const *name(int64_t rows, int64_t K, const float *a, int64_t ar, const float *b, float *c, \
      int64_t ldc, int64_t columns, const char *const *lines) {                                                            \
    enum { kept = layout, pairs_ = kind };                                                                                \
    switch (rows) { EACH(STRIP_ROWS) }                                                                                     \
    return lines;                                                                                                          \
  }
typedef const char *const *strips(int64_t rows, int64_t K, const float *a, int64_t ar, const float *b, float *c, int64_t ldc, int64_t columns,
    const char *const *lines);
STRIPS(strips_rows, ROWWISE, 0)
STRIPS(strips_across, ACROSS, 0)
#ifdef PAIRS
STRIPS(strips_rows_pairs, ROWWISE, 1)
STRIPS(strips_across_pairs, ACROSS, 1)
#endif

static inline strips *strips_for(int across, int pairs) {
#ifdef PAIRS
  if (pairs) return across ? strips_across_pairs : strips_rows_pairs;
#endif
  return across ? strips_across : strips_rows;
}

// multiplies_pairs says whether products of type t take two numbers per unit.
static inline int multiplies_pairs(int64_t t) {
#ifdef PAIRS
  return t == BF16;
#else
  return 0;
#endif
}
