#include <stdint.h>

// How the passes of resize.go may run.
enum { PLAIN, AVX2, AVX512 };

int simd_level(void);
void resize_rows(int level, uint8_t *out, const uint8_t *in, int64_t stride, int64_t rows, int64_t n, const int64_t *first, const int64_t *count,
	const int16_t *parts, int64_t pairs);
void resize_columns(int level, uint8_t *out, const uint8_t *in, int64_t n, int64_t h, int64_t top, const int64_t *first, const int64_t *count,
	const int16_t *parts, int64_t pairs);
