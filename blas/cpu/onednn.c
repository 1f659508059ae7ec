#include "onednn.h"
#include <stddef.h>

// Values of oneDNN's enumerations.
enum { CPU = 1, IN_ORDER = 1, ARG_A = 1, ARG_C = 17, ARG_B = 33, ARG_BIAS = 41, TYPE_F32 = 3 };

const dnn_version *dnn_version_of(const dnn_api *f) { return f->version(); }

typedef struct { const openmp *omp; int threads; } counted;

static void count_threads(void *to) {
  counted *c = to;
  if (c->omp->number() == 0) c->threads = c->omp->count();
}

int dnn_threads(const openmp *omp, int threads) {
  counted c = {omp, 1};
  omp->set_dynamic(0);
  omp->set_threads(threads);
  omp->parallel(count_threads, &c, threads, 0);
  return c.threads;
}

int dnn_open(const dnn_api *f, void **engine, void **stream) {
  int err = f->engine_create(engine, CPU, 0);
  return err ? err : f->stream_create(stream, *engine, IN_ORDER);
}

void dnn_close(const dnn_api *f, void *engine, void *stream) {
  f->stream_destroy(stream);
  f->engine_destroy(engine);
}

// matrix describes [rows, cols], stored transposed or not.
static int matrix(const dnn_api *f, void **desc, int64_t rows, int64_t cols, int transposed, int type) {
  int64_t dims[2] = {rows, cols}, strides[2] = {transposed ? 1 : cols, transposed ? rows : 1};
  return f->desc_create(desc, 2, dims, type, strides);
}

int dnn_make(const dnn_api *f, void *engine, dnn_product *p, int64_t m, int64_t n, int64_t k, int trans_a, int trans_b,
    int type, int type_c, int bias, int add) {
  void *a = NULL, *b = NULL, *v = NULL, *c = NULL, *attr = NULL, *ops = NULL, *desc = NULL, *none = NULL;
  *p = (dnn_product){0};
  int err = matrix(f, &a, m, k, trans_a, type);
  if (!err) err = matrix(f, &b, k, n, trans_b, type);
  if (!err) err = matrix(f, &c, m, n, 0, type_c);
  if (!err && bias) err = matrix(f, &v, 1, n, 0, TYPE_F32);
  if (!err) err = f->attr_create(&attr);
  if (!err && add) err = f->post_ops_create(&ops);
  if (!err && add) err = f->post_ops_sum(ops, 1, 0, 0);
  if (!err && add) err = f->attr_set_post_ops(attr, ops);
  if (!err) err = f->matmul(&desc, engine, a, b, v, c, attr);
  if (!err) err = f->primitive_create(&p->primitive, desc);
  if (!err) err = f->memory_create(&p->a, a, engine, none);
  if (!err) err = f->memory_create(&p->b, b, engine, none);
  if (!err) err = f->memory_create(&p->c, c, engine, none);
  if (!err && bias) err = f->memory_create(&p->bias, v, engine, none);
  void *descs[] = {a, b, c, v};
  for (int i = 0; i < 4; i++) if (descs[i]) f->desc_destroy(descs[i]);
  if (desc) f->primitive_desc_destroy(desc);
  if (ops) f->post_ops_destroy(ops);
  if (attr) f->attr_destroy(attr);
  if (err) dnn_free(f, p);
  return err;
}

int dnn_run(const dnn_api *f, void *stream, const dnn_product *p, void *a, void *b, void *bias, void *c) {
  dnn_arg args[4] = {{ARG_A, p->a}, {ARG_B, p->b}, {ARG_C, p->c}, {ARG_BIAS, p->bias}};
  f->memory_set(p->a, a);
  f->memory_set(p->b, b);
  f->memory_set(p->c, c);
  if (p->bias) f->memory_set(p->bias, bias);
  int err = f->primitive_execute(p->primitive, stream, p->bias ? 4 : 3, args);
  return err ? err : f->stream_wait(stream);
}

void dnn_free(const dnn_api *f, dnn_product *p) {
  void *memories[] = {p->a, p->b, p->c, p->bias};
  for (int i = 0; i < 4; i++) if (memories[i]) f->memory_destroy(memories[i]);
  if (p->primitive) f->primitive_destroy(p->primitive);
  *p = (dnn_product){0};
}
