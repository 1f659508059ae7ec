#pragma GCC target("avx2,fma,f16c")
#define TABLE mvp_avx2
#define VECTOR_BYTES 32 // one register
#define TILE_ROWS 6 // of accumulators that fit the register file
#include "common.h"
#include "ops.h"
#include "train.h"
#include "gemm.h"
#include "attention.h"
#include "attention_backward.h"
#include "table.h"
