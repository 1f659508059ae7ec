#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "team.h"

// A thread that waits looks for SPIN_NS whether the others have come, then sleeps. Between two operations of a training step less time than
// that passes, and to be woken takes some 50 µs; where another process holds a core, no more than that is lost each time. With more threads
// than processors it sleeps at once.
enum { SPIN_NS = 200000, LOOKS = 32 };

struct team {
  // Of those who meet. round counts meetings; who is not the last to arrive waits for it to change.
  _Alignas(64) atomic_int arrived;
  _Alignas(64) atomic_uint round;
  atomic_int asleep;
  // Of the kernel that runs; NULL ends the threads.
  kernel *run;
  void **p, *room;
  const int64_t *n;
  const double *f;
  const openmp *omp;
  atomic_llong *claimed; // by name, of the kernel that runs
  int64_t spin; // ns
  int count; // of members that there are
  pthread_t *threads;
  thread member[];
};

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline void pause_briefly(void) {
#if defined __x86_64__
  __builtin_ia32_pause();
#endif
}

static void await(team *m, unsigned round) {
  for (int64_t until = now() + m->spin; now() < until;)
    for (int i = 0; i < LOOKS; i++) {
      if (atomic_load_explicit(&m->round, memory_order_acquire) != round) return;
      pause_briefly();
    }
  atomic_fetch_add(&m->asleep, 1);
  while (atomic_load(&m->round) == round) syscall(SYS_futex, &m->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
  atomic_fetch_sub(&m->asleep, 1);
}

void meet(const thread *me) {
  team *m = me->team;
  if (me->count == 1) return;
  unsigned round = atomic_load(&m->round);
  if (atomic_fetch_add(&m->arrived, 1) + 1 < me->count) {
    await(m, round);
    return;
  }
  atomic_store(&m->arrived, 0);
  atomic_store(&m->round, round + 1);
  if (atomic_load(&m->asleep)) syscall(SYS_futex, &m->round, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void *common(const thread *me, int64_t bytes) {
  if (me->number == 0) me->team->room = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
  meet(me);
  return me->team->room;
}

void leave(const thread *me, void *room) {
  meet(me);
  if (me->number == 0) free(room);
}

int claim(const thread *me, int name, int64_t n, int sharers, int64_t most, int64_t least, int64_t *lo, int64_t *hi) {
  atomic_llong *claimed = &me->team->claimed[name];
  long long from = atomic_load(claimed), count;
  do {
    if (from >= n) return 0;
    count = sharers > 1 ? (n - from) / (2 * sharers) : most;
    if (count < least) count = least;
    if (count > most) count = most;
    if (count > n - from) count = n - from;
  } while (!atomic_compare_exchange_weak(claimed, &from, from + count));
  *lo = from, *hi = from + count;
  return 1;
}

static void *work(void *member) {
  const thread *me = member;
  team *m = me->team;
  for (;;) {
    meet(me); // team_run's first
    if (!m->run) return NULL;
    m->run(me, m->p, m->n, m->f);
    meet(me); // and its second
  }
}

team *team_new(int threads, const openmp *omp) {
  size_t size = sizeof(team) + threads * sizeof(thread);
  team *m = aligned_alloc(64, (size + 63) / 64 * 64);
  pthread_t *started = calloc(threads, sizeof *started);
  atomic_llong *claimed = calloc(threads, sizeof *claimed);
  if (!m || !started || !claimed) {
    free(m), free(started), free(claimed);
    errno = ENOMEM;
    return NULL;
  }
  cpu_set_t processors;
  int fits = !sched_getaffinity(0, sizeof processors, &processors) && threads <= CPU_COUNT(&processors);
  *m = (team){.count = 1, .threads = started, .claimed = claimed, .omp = omp, .spin = fits ? SPIN_NS : 0};
  m->member[0] = (thread){0, threads, m};
  if (omp) return m;
  sigset_t all, before; // signals are for Go's threads
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int err = 0;
  for (; m->count < threads && !err; m->count += !err) {
    m->member[m->count] = (thread){m->count, threads, m};
    err = pthread_create(&started[m->count], NULL, work, &m->member[m->count]);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!err) return m;
  atomic_fetch_add(&m->arrived, threads - m->count); // for those that are missing
  team_end(m);
  errno = err;
  return NULL;
}

static void run_on_openmp(void *of) {
  team *m = of;
  thread me = {m->omp->number(), m->omp->count(), m};
  m->run(&me, m->p, m->n, m->f);
}

void team_run(team *m, kernel *run, void **p, const int64_t *n, const double *f) {
  m->run = run, m->p = p, m->n = n, m->f = f;
  for (int i = 0; i < m->member[0].count; i++) atomic_store(&m->claimed[i], 0);
  if (m->omp) {
    m->omp->parallel(run_on_openmp, m, m->member[0].count, 0);
    return;
  }
  meet(m->member);
  run(m->member, p, n, f);
  meet(m->member);
}

void team_end(team *m) {
  m->run = NULL;
  if (!m->omp) meet(m->member);
  for (int i = 1; i < m->count; i++) pthread_join(m->threads[i], NULL);
  free(m->threads);
  free(m->claimed);
  free(m);
}
