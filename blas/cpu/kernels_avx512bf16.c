#ifdef MVP_NARROW
#include "narrow.h"
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,prefer-vector-width=512")
#endif
#define TABLE mvp_avx512bf16
#define VECTOR_BYTES 64 // one register
#define TILE_ROWS 14 // of accumulators that fit the register file
#define MOST_UNITS 1600 // of k at a time
#define DIRECT 1 // A's rows are read where they lie
#define PAIRS // bfloat16 is multiplied in pairs
#include "common.h"
#include "ops.h"
#include "train.h"
#include "gemm.h"
#include "attention.h"
#include "attention_backward.h"
#include "table.h"
