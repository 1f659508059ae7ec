// The parts of NVIDIA's interfaces that the device uses, declared here so that no CUDA toolkit is needed to build: libcuda (the
// driver), libcublasLt and libnvrtc, all opened at run time. compiler_test.go compiles this file together with NVIDIA's own
// headers (testdata/declarations.c) and compares every prototype, structure and constant.
#ifndef MVP_CUDA_DRIVER_H
#define MVP_CUDA_DRIVER_H
#include <stddef.h>
#include <stdint.h>

#ifndef NVIDIA_HEADERS
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef unsigned CUresult, CUdevice_attribute, CUfunction_attribute, CUmemPool_attribute, CUstreamCaptureMode;
typedef struct _nvrtcProgram *nvrtcProgram;
typedef unsigned nvrtcResult;
typedef struct cublasLtContext *cublasLtHandle_t;
typedef struct layout_st { uint64_t data[8]; } cublasLtMatrixLayoutOpaque_t, *cublasLtMatrixLayout_t;
typedef struct desc_st { uint64_t data[32]; } cublasLtMatmulDescOpaque_t, *cublasLtMatmulDesc_t;
typedef struct preference_st { uint64_t data[8]; } cublasLtMatmulPreferenceOpaque_t, *cublasLtMatmulPreference_t;
typedef struct algo_st { uint64_t data[8]; } cublasLtMatmulAlgo_t;
typedef unsigned cublasStatus_t, cudaDataType, cudaDataType_t, cublasComputeType_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t;
typedef struct heuristic_st {
	cublasLtMatmulAlgo_t algo;
	size_t workspaceSize;
	cublasStatus_t state;
	float wavesCount;
	int reserved[4];
} cublasLtMatmulHeuristicResult_t;
#endif

// X(name, parameters, arguments) for each function.
#define CUDA_FUNCTIONS(X)                                                                                              \
	X(cuInit, (unsigned flags), (flags))                                                                               \
	X(cuDriverGetVersion, (int *version), (version))                                                                   \
	X(cuGetErrorName, (CUresult error, const char **text), (error, text))                                              \
	X(cuGetErrorString, (CUresult error, const char **text), (error, text))                                            \
	X(cuDeviceGetCount, (int *count), (count))                                                                         \
	X(cuDeviceGet, (CUdevice * device, int ordinal), (device, ordinal))                                                \
	X(cuDeviceGetName, (char *name, int size, CUdevice device), (name, size, device))                                  \
	X(cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device), (bytes, device))                                          \
	X(cuDeviceGetAttribute, (int *value, CUdevice_attribute attribute, CUdevice device), (value, attribute, device))   \
	X(cuDeviceGetDefaultMemPool, (CUmemoryPool * pool, CUdevice device), (pool, device))                               \
	X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device), (context, device))                             \
	X(cuDevicePrimaryCtxRelease_v2, (CUdevice device), (device))                                                       \
	X(cuCtxSetCurrent, (CUcontext context), (context))                                                                 \
	X(cuMemGetInfo_v2, (size_t *available, size_t *total), (available, total))                                         \
	X(cuMemAlloc_v2, (CUdeviceptr * p, size_t bytes), (p, bytes))                                                      \
	X(cuMemFree_v2, (CUdeviceptr p), (p))                                                                              \
	X(cuMemAllocAsync, (CUdeviceptr * p, size_t bytes, CUstream stream), (p, bytes, stream))                           \
	X(cuMemFreeAsync, (CUdeviceptr p, CUstream stream), (p, stream))                                                   \
	X(cuMemPoolSetAttribute, (CUmemoryPool pool, CUmemPool_attribute attribute, void *value), (pool, attribute, value)) \
	X(cuMemHostAlloc, (void **p, size_t bytes, unsigned flags), (p, bytes, flags))                                     \
	X(cuMemFreeHost, (void *p), (p))                                                                                   \
	X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream), (to, from, bytes, stream)) \
	X(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream), (to, from, bytes, stream))    \
	X(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream), (to, from, bytes, stream)) \
	X(cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream), (to, value, bytes, stream)) \
	X(cuStreamCreate, (CUstream * stream, unsigned flags), (stream, flags))                                            \
	X(cuStreamDestroy_v2, (CUstream stream), (stream))                                                                 \
	X(cuStreamSynchronize, (CUstream stream), (stream))                                                                \
	X(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags), (stream, event, flags))                     \
	X(cuStreamBeginCapture_v2, (CUstream stream, CUstreamCaptureMode mode), (stream, mode))                            \
	X(cuStreamEndCapture, (CUstream stream, CUgraph *graph), (stream, graph))                                          \
	X(cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags), (exec, graph, flags)) \
	X(cuGraphLaunch, (CUgraphExec exec, CUstream stream), (exec, stream))                                              \
	X(cuGraphExecDestroy, (CUgraphExec exec), (exec))                                                                  \
	X(cuGraphDestroy, (CUgraph graph), (graph))                                                                        \
	X(cuEventCreate, (CUevent * event, unsigned flags), (event, flags))                                                \
	X(cuEventDestroy_v2, (CUevent event), (event))                                                                     \
	X(cuEventRecord, (CUevent event, CUstream stream), (event, stream))                                                \
	X(cuEventQuery, (CUevent event), (event))                                                                          \
	X(cuEventSynchronize, (CUevent event), (event))                                                                    \
	X(cuModuleLoadData, (CUmodule * module, const void *image), (module, image))                                       \
	X(cuModuleUnload, (CUmodule module), (module))                                                                     \
	X(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name), (function, module, name))       \
	X(cuFuncSetAttribute, (CUfunction function, CUfunction_attribute attribute, int value), (function, attribute, value)) \
	X(cuLaunchKernel, (CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
	                   unsigned shared, CUstream stream, void **parameters, void **extra),                             \
	  (function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra))

// X(name, value) for each constant of the driver.
#define CUDA_CONSTANTS(X)                                  \
	X(CUDA_SUCCESS, 0)                                     \
	X(CUDA_ERROR_OUT_OF_MEMORY, 2)                         \
	X(CUDA_ERROR_NO_DEVICE, 100)                           \
	X(CUDA_ERROR_NOT_READY, 600)                           \
	X(CU_STREAM_NON_BLOCKING, 1)                           \
	X(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, 1)              \
	X(CU_EVENT_DISABLE_TIMING, 2)                          \
	X(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)        \
	X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)    \
	X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)    \
	X(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97) \
	X(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 115)     \
	X(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8)  \
	X(CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, 4)

#define CUBLASLT_FUNCTIONS(X)                                                                                          \
	X(cublasLtCreate, (cublasLtHandle_t * handle), (handle))                                                           \
	X(cublasLtDestroy, (cublasLtHandle_t handle), (handle))                                                            \
	X(cublasLtMatmulDescCreate, (cublasLtMatmulDesc_t * desc, cublasComputeType_t compute, cudaDataType_t scale), (desc, compute, scale)) \
	X(cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t desc), (desc))                                                  \
	X(cublasLtMatmulDescSetAttribute, (cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes), \
	  (desc, attribute, value, bytes))                                                                                 \
	X(cublasLtMatrixLayoutCreate, (cublasLtMatrixLayout_t * layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld), \
	  (layout, type, rows, cols, ld))                                                                                  \
	X(cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t layout), (layout))                                          \
	X(cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t * preference), (preference))                         \
	X(cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t preference), (preference))                          \
	X(cublasLtMatmulPreferenceSetAttribute,                                                                            \
	  (cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t bytes), \
	  (preference, attribute, value, bytes))                                                                           \
	X(cublasLtMatmulAlgoGetHeuristic,                                                                                  \
	  (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,         \
	   cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int asked,           \
	   cublasLtMatmulHeuristicResult_t *results, int *found),                                                          \
	  (handle, desc, a, b, c, d, preference, asked, results, found))                                                   \
	X(cublasLtMatmul,                                                                                                  \
	  (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t la, \
	   const void *b, cublasLtMatrixLayout_t lb, const void *beta, const void *c, cublasLtMatrixLayout_t lc, void *d,  \
	   cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes, CUstream stream),   \
	  (handle, desc, alpha, a, la, b, lb, beta, c, lc, d, ld, algo, workspace, bytes, stream))

// Functions of other result types.
#define CUBLASLT_TEXTS(X)                                                \
	X(const char *, cublasLtGetStatusString, (cublasStatus_t status), (status)) \
	X(size_t, cublasLtGetVersion, (void), ())

#define CUBLASLT_CONSTANTS(X)                         \
	X(CUBLAS_STATUS_SUCCESS, 0)                       \
	X(CUBLAS_STATUS_NOT_SUPPORTED, 15)                \
	X(CUBLAS_OP_N, 0)                                 \
	X(CUBLAS_OP_T, 1)                                 \
	X(CUBLAS_COMPUTE_32F, 68)                         \
	X(CUBLAS_COMPUTE_32F_FAST_TF32, 77)               \
	X(CUDA_R_32F, 0)                                  \
	X(CUDA_R_16BF, 14)                                \
	X(CUBLASLT_POINTER_MODE_HOST, 0)                  \
	X(CUBLASLT_POINTER_MODE_DEVICE, 1)                \
	X(CUBLASLT_MATMUL_DESC_POINTER_MODE, 2)           \
	X(CUBLASLT_MATMUL_DESC_TRANSA, 3)                 \
	X(CUBLASLT_MATMUL_DESC_TRANSB, 4)                 \
	X(CUBLASLT_MATMUL_DESC_EPILOGUE, 7)               \
	X(CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8)           \
	X(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, 11)  \
	X(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 12)       \
	X(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1)    \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5)  \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6)  \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7)  \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)  \
	X(CUBLASLT_EPILOGUE_DEFAULT, 1)                   \
	X(CUBLASLT_EPILOGUE_BIAS, 4)                      \
	X(CUBLASLT_EPILOGUE_GELU_AUX_BIAS, 164)           \
	X(CUBLASLT_EPILOGUE_DGELU, 192)                   \
	X(CUBLASLT_EPILOGUE_BGRADB, 512)

#define NVRTC_FUNCTIONS(X)                                                                                             \
	X(nvrtcVersion, (int *major, int *minor), (major, minor))                                                          \
	X(nvrtcGetNumSupportedArchs, (int *count), (count))                                                                \
	X(nvrtcGetSupportedArchs, (int *archs), (archs))                                                                   \
	X(nvrtcCreateProgram, (nvrtcProgram * program, const char *source, const char *name, int headers, const char *const *texts, \
	                       const char *const *names),                                                                  \
	  (program, source, name, headers, texts, names))                                                                  \
	X(nvrtcDestroyProgram, (nvrtcProgram * program), (program))                                                        \
	X(nvrtcCompileProgram, (nvrtcProgram program, int count, const char *const *options), (program, count, options))   \
	X(nvrtcGetCUBINSize, (nvrtcProgram program, size_t *bytes), (program, bytes))                                      \
	X(nvrtcGetCUBIN, (nvrtcProgram program, char *image), (program, image))                                            \
	X(nvrtcGetPTXSize, (nvrtcProgram program, size_t *bytes), (program, bytes))                                        \
	X(nvrtcGetPTX, (nvrtcProgram program, char *text), (program, text))                                                \
	X(nvrtcGetProgramLogSize, (nvrtcProgram program, size_t *bytes), (program, bytes))                                 \
	X(nvrtcGetProgramLog, (nvrtcProgram program, char *text), (program, text))

#define NVRTC_TEXTS(X) X(const char *, nvrtcGetErrorString, (nvrtcResult result), (result))

#define NVRTC_CONSTANTS(X)          \
	X(NVRTC_SUCCESS, 0)             \
	X(NVRTC_ERROR_COMPILATION, 6)

#ifndef NVIDIA_HEADERS
#define AS_ENUM(name, value) name = value,
enum { CUDA_CONSTANTS(AS_ENUM) CUBLASLT_CONSTANTS(AS_ENUM) NVRTC_CONSTANTS(AS_ENUM) };
#endif
#endif
