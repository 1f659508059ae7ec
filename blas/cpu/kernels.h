// One table of kernels per instruction set is all that dispatch needs.
#ifndef MVP_KERNELS_H
#define MVP_KERNELS_H
#include "team.h"

enum {
  K_CAST, K_PATCHES, K_TOKENS, K_TOKENS_BACKWARD, K_GATHER, K_SCATTER, K_NORM, K_NORM_BACKWARD, K_SCALE, K_SCALE_BACKWARD,
  K_RELPOS, K_RELPOS_BACKWARD, K_ATTENTION, K_ATTENTION_BACKWARD, K_COSINE, K_COSINE_BACKWARD, K_SMOOTH, K_SMOOTH_BACKWARD,
  K_SUMSQ, K_PREPARE, K_ADAMW, K_EMA, K_GEMM, K_GEMM_ROOM, K_EPILOGUE, K_COLSUM, K_COUNT
};

extern kernel *const mvp_portable[K_COUNT], *const mvp_avx2[K_COUNT], *const mvp_avx512[K_COUNT], *const mvp_avx512bf16[K_COUNT];
#endif
