// What onnxruntime_go leaves out of onnxruntime's C API: a tensor over a device's memory. graphs_test.go compares places and prototypes
// with onnxruntime's own header.
#ifndef MVP_TEACHER_ORT_H
#define MVP_TEACHER_ORT_H
#include <stddef.h>
#include <stdint.h>

#ifndef ONNXRUNTIME_HEADER
typedef struct OrtStatus OrtStatus;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtValue OrtValue;
enum { OrtDeviceAllocator = 0, OrtMemTypeDefault = 0 };
#endif

// X(place in OrtApi, name, result, parameters). Releases of onnxruntime append to OrtApi and change no place.
#define ORT_FUNCTIONS(X)                                                                                                           \
	X(2, GetErrorMessage, const char *, (const OrtStatus *))                                                                       \
	X(49, CreateTensorWithDataAsOrtValue, OrtStatus *, (const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t, unsigned, OrtValue **)) \
	X(68, CreateMemoryInfo, OrtStatus *, (const char *, int, int, int, OrtMemoryInfo **))                                          \
	X(93, ReleaseStatus, void, (OrtStatus *))                                                                                      \
	X(94, ReleaseMemoryInfo, void, (OrtMemoryInfo *))                                                                              \
	X(96, ReleaseValue, void, (OrtValue *))

#define ORT_POINTER(place, name, result, params) typedef result(*ort_##name) params;
#define ORT_PLACE(place, name, result, params) ort_place_##name = place,
ORT_FUNCTIONS(ORT_POINTER)
enum { ORT_FUNCTIONS(ORT_PLACE) };
#define ORT(api, name) ((ort_##name)(api)[ort_place_##name])

// What OrtGetApiBase returns.
typedef struct {
	void *const *(*get)(uint32_t version);
	const char *(*version)(void);
} ort_base;
#endif
