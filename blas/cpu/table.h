// The kernels of this instruction set, in the order of kernels.h.
kernel *const TABLE[K_COUNT] = {
  cast, patches, tokens, tokens_backward, gather, scatter, norm, norm_backward, scale, scale_backward,
  relpos, relpos_backward, attention, attention_backward, cosine, cosine_backward, smooth, smooth_backward,
  sumsq, prepare, adamw, ema, gemm, gemm_room, epilogue, colsum,
};
