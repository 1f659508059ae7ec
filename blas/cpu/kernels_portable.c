#define TABLE mvp_portable
#define VECTOR_BYTES 16 // one register
#define TILE_ROWS 4 // of accumulators that fit the register file
#define MOST_UNITS 1600 // of k at a time
#define DIRECT 1 // A's rows are read where they lie
#include "common.h"
#include "ops.h"
#include "train.h"
#include "gemm.h"
#include "attention.h"
#include "attention_backward.h"
#include "table.h"
