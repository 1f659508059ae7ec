package teacher

/*
#include <stddef.h>
#include <stdlib.h>

typedef unsigned long long device_pointer;

// X(name, parameters) for each function of NVIDIA's driver.
#define DRIVER_FUNCTIONS(X)                                                                     \
	X(cuInit, (unsigned flags))                                                                 \
	X(cuDeviceGet, (int *device, int ordinal))                                                  \
	X(cuDevicePrimaryCtxRetain, (void **context, int device))                                   \
	X(cuDevicePrimaryCtxRelease_v2, (int device))                                               \
	X(cuCtxSetCurrent, (void *context))                                                         \
	X(cuStreamCreate, (void **stream, unsigned flags))                                          \
	X(cuStreamDestroy_v2, (void *stream))                                                       \
	X(cuStreamSynchronize, (void *stream))                                                      \
	X(cuMemAlloc_v2, (device_pointer * p, size_t bytes))                                        \
	X(cuMemFree_v2, (device_pointer p))                                                         \
	X(cuMemHostAlloc, (void **p, size_t bytes, unsigned flags))                                 \
	X(cuMemFreeHost, (void *p))                                                                 \
	X(cuMemcpyHtoDAsync_v2, (device_pointer to, const void *from, size_t bytes, void *stream))  \
	X(cuMemcpyDtoHAsync_v2, (void *to, device_pointer from, size_t bytes, void *stream))        \
	X(cuGetErrorString, (int error, const char **text))

#define DRIVER_POINTER(name, params) int(*name) params;
#define DRIVER_NAME(name, params) #name " "

typedef struct {
	DRIVER_FUNCTIONS(DRIVER_POINTER)
	int device;
	void *context, *stream;
} card;

static const char *card_names(void) { return DRIVER_FUNCTIONS(DRIVER_NAME); }

// A context is current per thread, and a call may come from any.
#define DO(call)                     \
	do {                             \
		int error = (call);          \
		if (error) return error;     \
	} while (0)
#define ENTER(c) DO((c)->cuCtxSetCurrent((c)->context))

static int card_open(card *c, int ordinal) {
	DO(c->cuInit(0));
	DO(c->cuDeviceGet(&c->device, ordinal));
	DO(c->cuDevicePrimaryCtxRetain(&c->context, c->device)); // the one that onnxruntime works in
	ENTER(c);
	const unsigned non_blocking = 1;
	return c->cuStreamCreate(&c->stream, non_blocking);
}

static void card_close(card *c) {
	if (c->context && !c->cuCtxSetCurrent(c->context) && c->stream) c->cuStreamDestroy_v2(c->stream);
	if (c->context) c->cuDevicePrimaryCtxRelease_v2(c->device);
}

static int card_alloc(card *c, device_pointer *p, size_t bytes) { ENTER(c); return c->cuMemAlloc_v2(p, bytes); }
static int card_free(card *c, device_pointer p) { ENTER(c); return c->cuMemFree_v2(p); }
static int card_pin(card *c, void **p, size_t bytes) { ENTER(c); return c->cuMemHostAlloc(p, bytes, 0); }
static int card_unpin(card *c, void *p) { ENTER(c); return c->cuMemFreeHost(p); }

static int card_put(card *c, device_pointer to, const void *from, size_t bytes) {
	ENTER(c);
	DO(c->cuMemcpyHtoDAsync_v2(to, from, bytes, c->stream));
	return c->cuStreamSynchronize(c->stream);
}

static int card_get(card *c, void *to, device_pointer from, size_t bytes) {
	ENTER(c);
	DO(c->cuMemcpyDtoHAsync_v2(to, from, bytes, c->stream));
	return c->cuStreamSynchronize(c->stream);
}

static const char *card_error(card *c, int error) {
	const char *text;
	return c->cuGetErrorString(error, &text) ? "unknown error" : text;
}
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// card is the memory of one NVIDIA GPU, through its driver. Copies are waited for, since onnxruntime's stream does not wait for
// another one; host memory is pinned, so that they run at the bus's rate.
type card struct {
	c      *C.card
	number int
}

func openCard(number int) (*card, error) {
	lib, err := driver.Open()
	if err != nil {
		return nil, fmt.Errorf("%s", driverHelp)
	}
	m := &card{(*C.card)(C.calloc(1, C.sizeof_card)), number}
	table := unsafe.Pointer(m.c)
	for i, name := range strings.Fields(C.GoString(C.card_names())) {
		p, err := lib.Sym(name)
		if err != nil {
			C.free(table)
			return nil, err
		}
		*(*unsafe.Pointer)(unsafe.Add(table, uintptr(i)*unsafe.Sizeof(p))) = p
	}
	if err := m.check("open", C.card_open(m.c, C.int(number))); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *card) check(what string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s on GPU %d: %s (CUDA error %d)", what, m.number, C.GoString(C.card_error(m.c, code)), code)
}

func (m *card) place() (string, int) { return "Cuda", m.number }

func (m *card) alloc(bytes int) (uintptr, error) {
	var p C.device_pointer
	err := m.check(fmt.Sprintf("allocate %d bytes", bytes), C.card_alloc(m.c, &p, C.size_t(bytes)))
	return uintptr(p), err
}

func (m *card) free(p uintptr) { C.card_free(m.c, C.device_pointer(p)) }

func (m *card) pin(bytes int) (region, error) {
	var p unsafe.Pointer
	if err := m.check(fmt.Sprintf("pin %d bytes of the host for copies", bytes), C.card_pin(m.c, &p, C.size_t(bytes))); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), bytes), nil
}

func (m *card) unpin(r region) { C.card_unpin(m.c, unsafe.Pointer(unsafe.SliceData(r))) }

func (m *card) put(to uintptr, from region) error {
	return m.check("copy pixels", C.card_put(m.c, C.device_pointer(to), unsafe.Pointer(unsafe.SliceData(from)), C.size_t(len(from))))
}

func (m *card) get(to region, from uintptr) error {
	return m.check("copy features", C.card_get(m.c, unsafe.Pointer(unsafe.SliceData(to)), C.device_pointer(from), C.size_t(len(to))))
}

func (m *card) close() {
	C.card_close(m.c)
	C.free(unsafe.Pointer(m.c))
}
