// Compiled by graphs_test.go: ort.h's places and prototypes against those of onnxruntime's header.
#include <onnxruntime_c_api.h>
#define ONNXRUNTIME_HEADER
#include "../ort.h"

#define SAME_PLACE(place, name, result, params) _Static_assert(offsetof(OrtApi, name) == place * sizeof(void *), #name " is elsewhere");
#define SAME_TYPE(place, name, result, params) static ort_##name same_##name(const OrtApi *api) { return api->name; }
ORT_FUNCTIONS(SAME_PLACE)
ORT_FUNCTIONS(SAME_TYPE)

_Static_assert(offsetof(OrtApiBase, GetApi) == offsetof(ort_base, get) && sizeof(OrtApiBase) == sizeof(ort_base), "OrtApiBase");

#define USE(place, name, result, params) (void *)same_##name,
void *const used[] = {ORT_FUNCTIONS(USE)};
