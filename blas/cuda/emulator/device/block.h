// The threads of one block on the emulated device: fibers on one thread of the processor, so that barriers, shuffles and shared memory
// behave as on a GPU. Kernels run one block after the other.
#ifndef EMULATOR_BLOCK_H
#define EMULATOR_BLOCK_H
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace emulated {

struct Index { unsigned x, y, z; };

struct Thread {
	Index index;
	int lane, warp;
	int state;      // of block.cpp
	void *stack;    // where it goes on
};

extern Thread *current;  // the thread that runs
extern Index block, block_size, grid_size;

unsigned char *shared_memory();
void block_barrier();
void warp_barrier();
unsigned (*slots())[8];  // 8 registers for each lane of the current warp; other ones after each warp_barrier

// What is reported of a thread's progress, to order accesses: block barriers and warp barriers that it has passed.
struct Progress { unsigned launch, block, barrier; uint16_t thread, step; };
Progress progress();

// fail ends the kernel with a message; it does not return.
[[noreturn]] void fail(const std::string &what);

// The thread's asynchronous copies of 16 bytes into shared memory, of zeros where not inside. Until the thread waits for those that it has
// committed, what they are to overwrite is NaN.
void copy_later(void *to, const void *from, bool inside);
void commit_copies();
void finish_copies();

// access checks one access of a kernel: in bounds, live, aligned, not racing. memory.cpp.
void access(const void *p, size_t bytes, bool write);

// run_kernel runs all blocks; it returns what went wrong, or "".
std::string run_kernel(const std::string &name, const std::function<void()> &body, Index grid, Index threads, size_t shared);
void other_order();        // of the blocks, from the next launch on
size_t shared_bytes();     // of the running launch
bool on_stack(const void *p);  // whether p lies on a fiber's stack
std::string where();       // kernel, block and thread that run

// A kernel as the registry knows it: how to call it with the addresses of its arguments, and their sizes.
struct Kernel {
	std::function<void(void **)> call;
	std::vector<size_t> sizes;
};
const Kernel *find_kernel(const std::string &name);
void add_kernel(const char *name, Kernel k);

template <class... A, size_t... I> Kernel wrap(void (*f)(A...), std::index_sequence<I...>) {
	return {[f](void **p) { f(*(A *)p[I]...); }, {sizeof(A)...}};
}
struct Register {
	template <class... A> Register(const char *name, void (*f)(A...)) { add_kernel(name, wrap(f, std::index_sequence_for<A...>{})); }
};

}  // namespace emulated
#endif
