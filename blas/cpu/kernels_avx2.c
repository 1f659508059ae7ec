#pragma GCC target("avx2,fma,f16c")
#define TABLE mvp_avx2
#define VECTOR_BYTES 32 // one register
#define TILE_ROWS 6 // of accumulators that fit the register file
#define MOST_UNITS 800 // of k at a time
#define DIRECT 0 // A's rows are read where they lie
#include "common.h"
#include "ops.h"
#include "train.h"
#include "gemm.h"
#include "attention.h"
#include "attention_backward.h"
#include "table.h"
