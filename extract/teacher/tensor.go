package teacher

/*
#include <stdlib.h>
#include <string.h>
#include "ort.h"

// A message if it failed, to be freed, else NULL.
static char *ort_message(void *const *api, OrtStatus *status) {
	if (!status) return NULL;
	char *text = strdup(ORT(api, GetErrorMessage)(status));
	ORT(api, ReleaseStatus)(status);
	return text;
}

static void *const *ort_api(void *get_base) {
	return ((const ort_base *(*)(void))get_base)()->get(1); // the first version has all that is used here
}

static char *ort_tensor(void *const *api, const char *place, int id, uintptr_t data, size_t bytes, const int64_t *shape, size_t rank,
	unsigned type, OrtValue **value) {
	OrtMemoryInfo *where;
	char *message = ort_message(api, ORT(api, CreateMemoryInfo)(place, OrtDeviceAllocator, id, OrtMemTypeDefault, &where));
	if (message) return message;
	message = ort_message(api, ORT(api, CreateTensorWithDataAsOrtValue)(where, (void *)data, bytes, shape, rank, type, value));
	ORT(api, ReleaseMemoryInfo)(where);
	return message;
}

static void ort_release(void *const *api, OrtValue *value) { ORT(api, ReleaseValue)(value); }
*/
import "C"

import (
	"fmt"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"

	"mvptargets/internal/dynlib"
)

// deviceTensor is a tensor over memory that onnxruntime_go has no words for. Of its Value it is what IoBinding looks at.
type deviceTensor struct {
	ort.Value
	api   *unsafe.Pointer
	value *C.OrtValue
}

// newDeviceTensor describes bytes at data in the memory that onnxruntime calls place and id. The memory must outlive the tensor.
func newDeviceTensor(place string, id int, data uintptr, bytes int, shape ort.Shape, elem ort.TensorElementDataType) (*deviceTensor, error) {
	lib, err := dynlib.Spec{Name: cpuLibrary, Sonames: []string{loaded.path}}.Open() // a second handle of what runs
	if err != nil {
		return nil, err
	}
	base, err := lib.Sym("OrtGetApiBase")
	if err != nil {
		return nil, err
	}
	t := &deviceTensor{api: C.ort_api(base)}
	name := C.CString(place)
	defer C.free(unsafe.Pointer(name))
	if message := C.ort_tensor(t.api, name, C.int(id), C.uintptr_t(data), C.size_t(bytes), (*C.int64_t)(&shape[0]), C.size_t(len(shape)), C.unsigned(elem), &t.value); message != nil {
		defer C.free(unsafe.Pointer(message))
		return nil, fmt.Errorf("tensor in memory %s %d: %s", place, id, C.GoString(message))
	}
	return t, nil
}

// GetInternals gives onnxruntime_go the tensor in its own clothes, a struct of one pointer.
func (t *deviceTensor) GetInternals() *ort.ValueInternalData {
	var d ort.ValueInternalData
	*(**C.OrtValue)(unsafe.Pointer(&d)) = t.value
	return &d
}

func (t *deviceTensor) Destroy() error {
	C.ort_release(t.api, t.value)
	return nil
}
