// The part of oneDNN's C API (version 3) that is used, declared here so that nothing is needed to build. Functions are
// filled in by onednn.go from the library opened at run time.
#ifndef MVP_ONEDNN_H
#define MVP_ONEDNN_H
#include <stdint.h>
#include "team.h"

typedef struct { int major, minor, patch; const char *hash; unsigned cpu_runtime, gpu_runtime; } dnn_version;
typedef struct { int arg; void *memory; } dnn_arg; // dnnl_exec_arg_t

typedef struct {
  const dnn_version *(*version)(void);
  int (*engine_create)(void **, int kind, uintptr_t index);
  int (*engine_destroy)(void *);
  int (*stream_create)(void **, void *engine, unsigned flags);
  int (*stream_destroy)(void *);
  int (*stream_wait)(void *);
  int (*desc_create)(void **, int rank, const int64_t *dims, int type, const int64_t *strides);
  int (*desc_destroy)(void *);
  int (*memory_create)(void **, const void *desc, void *engine, void *handle);
  int (*memory_set)(void *, void *handle);
  int (*memory_destroy)(void *);
  int (*attr_create)(void **);
  int (*attr_set_post_ops)(void *, const void *);
  int (*attr_destroy)(void *);
  int (*post_ops_create)(void **);
  int (*post_ops_sum)(void *, float scale, int32_t zero, int type);
  int (*post_ops_destroy)(void *);
  int (*matmul)(void **, void *engine, const void *a, const void *b, const void *bias, const void *c, const void *attr);
  int (*primitive_create)(void **, const void *desc);
  int (*primitive_execute)(const void *, void *stream, int n, const dnn_arg *);
  int (*primitive_destroy)(void *);
  int (*primitive_desc_destroy)(void *);
} dnn_api;

// dnn_product is C [m, n] (+)= A·B + bias, made for one set of shapes, layouts and types.
typedef struct { void *primitive, *a, *b, *bias, *c; } dnn_product;

const dnn_version *dnn_version_of(const dnn_api *);
int dnn_open(const dnn_api *, void **engine, void **stream);
int dnn_threads(const openmp *, int threads); // of the calling thread's products; returns how many there are, fewer under OMP_THREAD_LIMIT
int dnn_make(const dnn_api *, void *engine, dnn_product *, int64_t m, int64_t n, int64_t k, int trans_a, int trans_b,
    int type, int type_c, int bias, int add);
int dnn_run(const dnn_api *, void *stream, const dnn_product *, void *a, void *b, void *bias, void *c);
void dnn_close(const dnn_api *, void *engine, void *stream);
void dnn_free(const dnn_api *, dnn_product *);
#endif
