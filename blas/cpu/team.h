// A team runs one kernel at a time on all of its threads, as a GPU does: each takes its share, and they meet where one needs what others
// have made.
#ifndef MVP_TEAM_H
#define MVP_TEAM_H
#include <stdint.h>

typedef struct team team;
typedef struct { int number, count; team *team; } thread; // number counts from 0, the thread that calls team_run

// A kernel gets pointers (absent tensors are NULL), integers and constants, each in the order that its comment gives.
typedef void kernel(const thread *me, void **p, const int64_t *n, const double *f);

// openmp is what a team needs of GNU OpenMP's library, for where another library computes on its threads.
typedef struct {
  void (*parallel)(void (*run)(void *), void *, unsigned threads, unsigned flags); // GOMP_parallel
  int (*number)(void), (*count)(void);
  void (*set_threads)(int), (*set_dynamic)(int);
} openmp;

// team_new starts a team: of its own threads, or of OpenMP's if that is given, so that the cores have no two teams that wait for each other.
// It is NULL, with errno, where there are no threads to be had.
team *team_new(int threads, const openmp *);
void team_run(team *, kernel *, void **p, const int64_t *n, const double *f);
void team_end(team *);

// meet returns when every thread of the team has called it; what they wrote before can be read after.
void meet(const thread *me);

// common is room that all threads share until they leave it. All call both.
void *common(const thread *me, int64_t bytes);
void leave(const thread *me, void *room);

// claim gives the calling thread the next lo to hi-1 of the numbers 0 to n-1 that some threads of the team share under one name, less than the
// team's count: most of them, and towards the end fewer, down to least, so that all are done at about the same time whatever else runs on their
// cores. It returns 0 where none is left. A kernel can use a name once.
int claim(const thread *me, int name, int64_t n, int sharers, int64_t most, int64_t least, int64_t *lo, int64_t *hi);

// for_mine counts the calling thread's share of 0 to n-1.
#define for_mine(i, n) \
  for (int64_t i = (int64_t)(n) * me->number / me->count, i##_end = (int64_t)(n) * (me->number + 1) / me->count; i < i##_end; i++)
#endif
