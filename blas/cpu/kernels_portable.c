#define TABLE mvp_portable
#define VECTOR_BYTES 16 // one register
#define TILE_ROWS 4 // of accumulators that fit the register file
#include "common.h"
#include "ops.h"
#include "train.h"
#include "gemm.h"
#include "attention.h"
#include "attention_backward.h"
#include "table.h"
