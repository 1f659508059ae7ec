// Compiled by compiler_test.go: driver.h's declarations against those of NVIDIA's headers.
#include <cublasLt.h>
#include <cuda.h>
#include <nvrtc.h>
#define NVIDIA_HEADERS
#include "../driver.h"

#define SAME_CU(name, params, args) static CUresult(*same_##name) params __attribute__((unused)) = name;
#define SAME_LT(name, params, args) static cublasStatus_t(*same_##name) params __attribute__((unused)) = name;
#define SAME_RTC(name, params, args) static nvrtcResult(*same_##name) params __attribute__((unused)) = name;
#define SAME_TEXT(type, name, params, args) static type(*same_##name) params __attribute__((unused)) = name;
CUDA_FUNCTIONS(SAME_CU)
CUBLASLT_FUNCTIONS(SAME_LT)
CUBLASLT_TEXTS(SAME_TEXT)
NVRTC_FUNCTIONS(SAME_RTC)
NVRTC_TEXTS(SAME_TEXT)

#define SAME_VALUE(name, value) _Static_assert((int)name == value, #name);
CUDA_CONSTANTS(SAME_VALUE)
CUBLASLT_CONSTANTS(SAME_VALUE)
NVRTC_CONSTANTS(SAME_VALUE)

_Static_assert(sizeof(cublasLtMatmulHeuristicResult_t) == 64 + 8 + 4 + 4 + 16, "cublasLtMatmulHeuristicResult_t");
_Static_assert(sizeof(cublasLtMatmulAlgo_t) == 64, "cublasLtMatmulAlgo_t");
_Static_assert(sizeof(cublasLtMatmulDescOpaque_t) == 256, "cublasLtMatmulDescOpaque_t");
