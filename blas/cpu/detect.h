#ifndef MVP_DETECT_H
#define MVP_DETECT_H
int mvp_best_level(void);     // 0 portable, 1 avx2, 2 avx512, 3 avx512bf16: the most that the processor offers
int mvp_has_amx_bf16(void);   // matrix registers, which only oneDNN uses
double mvp_pair_rate(void);   // vdpbf16ps per float32 multiply-add in the same time: 1 on Zen 5, 1/4 on Emerald Rapids. Level 3 only
#endif
