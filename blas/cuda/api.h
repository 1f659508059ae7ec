// Tables of the functions of driver.h, filled with the symbols of the libraries that were opened, and one caller for each.
#ifndef MVP_CUDA_API_H
#define MVP_CUDA_API_H
#include "driver.h"

#define POINTER_CU(name, params, args) CUresult(*name) params;
#define POINTER_LT(name, params, args) cublasStatus_t(*name) params;
#define POINTER_RTC(name, params, args) nvrtcResult(*name) params;
#define POINTER_TEXT(type, name, params, args) type(*name) params;

typedef struct { CUDA_FUNCTIONS(POINTER_CU) } cuda_api;
typedef struct { CUBLASLT_FUNCTIONS(POINTER_LT) CUBLASLT_TEXTS(POINTER_TEXT) } cublaslt_api;
typedef struct { NVRTC_FUNCTIONS(POINTER_RTC) NVRTC_TEXTS(POINTER_TEXT) } nvrtc_api;

// The names in the tables' order, with spaces between.
#define NAME(name, params, args) #name " "
#define NAME_TEXT(type, name, params, args) #name " "
static inline const char *cuda_names(void) { return CUDA_FUNCTIONS(NAME); }
static inline const char *cublaslt_names(void) { return CUBLASLT_FUNCTIONS(NAME) CUBLASLT_TEXTS(NAME_TEXT); }
static inline const char *nvrtc_names(void) { return NVRTC_FUNCTIONS(NAME) NVRTC_TEXTS(NAME_TEXT); }

#define UNWRAP(...) __VA_ARGS__
#define CALL_CU(name, params, args) \
	static inline CUresult call_##name(const cuda_api *api, UNWRAP params) { return api->name args; }
#define CALL_LT(name, params, args) \
	static inline cublasStatus_t call_##name(const cublaslt_api *api, UNWRAP params) { return api->name args; }
#define CALL_RTC(name, params, args) \
	static inline nvrtcResult call_##name(const nvrtc_api *api, UNWRAP params) { return api->name args; }
CUDA_FUNCTIONS(CALL_CU)
CUBLASLT_FUNCTIONS(CALL_LT)
NVRTC_FUNCTIONS(CALL_RTC)

static inline size_t lt_version(const cublaslt_api *api) { return api->cublasLtGetVersion(); }
static inline const char *lt_text(const cublaslt_api *api, cublasStatus_t s) { return api->cublasLtGetStatusString(s); }
static inline const char *nvrtc_text(const nvrtc_api *api, nvrtcResult r) { return api->nvrtcGetErrorString(r); }

// launch passes arguments of 8 bytes each by address, as cuLaunchKernel wants them; the driver reads as many bytes as the kernel's
// parameter has.
static inline CUresult launch(const cuda_api *api, CUfunction f, const unsigned grid[3], unsigned block, unsigned shared, CUstream stream,
                              uint64_t *arguments, int count) {
	void *p[32];
	for (int i = 0; i < count; i++) p[i] = arguments + i;
	return api->cuLaunchKernel(f, grid[0], grid[1], grid[2], block, 1, 1, shared, stream, p, NULL);
}
#endif
