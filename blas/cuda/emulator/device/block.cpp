#include "block.h"

#include <sys/mman.h>

#include <cstring>
#include <map>

// switch_stack saves the callee's registers on the current stack, leaves its pointer in *from and goes on where `to` was left.
asm(R"(
.text
.hidden switch_stack
.globl switch_stack
switch_stack:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
)");
extern "C" void switch_stack(void **from, void *to);

namespace emulated {

Thread *current;
Index block, block_size, grid_size;

namespace {

struct Copy { void *to; const void *from; bool inside; };

enum { READY, AT_BARRIER, AT_WARP_BARRIER, DONE };
constexpr size_t STACK = 64 << 10, MOST_THREADS = 1024, MOST_SHARED = 227 << 10;

struct Warp {
	int threads, arrived;
	uint16_t step;
	unsigned slots[2][32][8];
};

char *stacks;
unsigned char *shared;
Thread threads[MOST_THREADS];
Warp warps[MOST_THREADS / 32];
std::vector<Copy> copies[MOST_THREADS];  // of each thread, under way
size_t committed[MOST_THREADS];          // of them
int count, arrived;          // threads of the block, and those at its barrier
unsigned barrier, launches, block_number;
unsigned resets, began;      // and launches before the last of them
size_t shared_size;
void *scheduler;
std::string kernel, failure;
const std::function<void()> *body;

void leave() { switch_stack(&current->stack, scheduler); }

void entry() {
	(*body)();
	if (!copies[current - threads].empty()) fail("asynchronous copies that nobody waited for");
	current->state = DONE;
	leave();
	__builtin_unreachable();
}

void start(Thread &t) {
	void **top = (void **)(stacks + (&t - threads + 1) * STACK);
	*--top = nullptr;          // so that the stack is aligned at entry as after a call
	*--top = (void *)entry;
	for (int i = 0; i < 6; i++) *--top = nullptr;
	t.stack = top;
	t.state = READY;
	copies[&t - threads].clear();
}

void reserve() {
	if (stacks) return;
	stacks = (char *)mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	shared = (unsigned char *)mmap(nullptr, MOST_SHARED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// run_block runs the threads in turn, each until it waits or ends. Where all wait, some wait for ones that never come.
void run_block() {
	memset(shared, 0xff, shared_size);
	barrier = arrived = 0;
	for (int w = 0; w < (count + 31) / 32; w++) warps[w].arrived = warps[w].step = 0, warps[w].threads = std::min(32, count - 32 * w);
	for (int i = 0; i < count; i++) {
		Thread &t = threads[i];
		t.index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
		t.lane = i % 32, t.warp = i / 32;
		start(t);
	}
	for (int done = 0; done < count && failure.empty();) {
		bool moved = false;
		for (int i = 0; i < count && failure.empty(); i++) {
			if (threads[i].state != READY) continue;
			moved = true;
			current = &threads[i];
			switch_stack(&scheduler, current->stack);
			done += current->state == DONE;
		}
		if (!moved) {
			for (int i = 0; i < count; i++)
				if (threads[i].state != DONE) current = &threads[i];
			failure = std::string("threads wait at a ") + (current->state == AT_BARRIER ? "barrier" : "shuffle or warp barrier") +
			          " that others of them never reach: " + where();
		}
	}
}

}  // namespace

unsigned char *shared_memory() { return shared; }
size_t shared_bytes() { return shared_size; }
bool on_stack(const void *p) { return stacks && p >= stacks && p < stacks + STACK * MOST_THREADS; }
unsigned (*slots())[8] { Warp &w = warps[current->warp]; return w.slots[w.step % 2]; }
Progress progress() {
	return {launches, block_number, barrier, (uint16_t)(current - threads), warps[current->warp].step};
}

void block_barrier() {
	if (++arrived == count) {
		arrived = 0, barrier++;
		for (int i = 0; i < count; i++) threads[i].state = READY;
		return;
	}
	current->state = AT_BARRIER;
	leave();
}

void warp_barrier() {
	Warp &w = warps[current->warp];
	if (++w.arrived == w.threads) {
		w.arrived = 0, w.step++;
		for (int i = 0; i < w.threads; i++) threads[32 * current->warp + i].state = READY;
		return;
	}
	current->state = AT_WARP_BARRIER;
	leave();
}

void copy_later(void *to, const void *from, bool inside) {
	access(to, 16, true);
	if (inside) access(from, 16, false);
	memset(to, 0xff, 16);
	copies[current - threads].push_back({to, from, inside});
}

void commit_copies() { committed[current - threads] = copies[current - threads].size(); }

void finish_copies() {
	std::vector<Copy> &all = copies[current - threads];
	if (committed[current - threads] < all.size()) fail("asynchronous copies that were not committed");
	for (Copy &c : all) {
		access(c.to, 16, true);
		if (c.inside) memcpy(c.to, c.from, 16);
		else memset(c.to, 0, 16);
	}
	all.clear();
	committed[current - threads] = 0;
}

std::string where() {
	char text[160];
	snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread %d", kernel.c_str(), block.x, block.y, block.z, int(current - threads));
	return text;
}

void fail(const std::string &what) {
	failure = what + ": " + where();
	for (;;) leave();  // the scheduler does not come back to a failed block
}

std::string run_kernel(const std::string &name, const std::function<void()> &f, Index grid, Index size, size_t bytes) {
	reserve();
	kernel = name, failure = "", body = &f;
	grid_size = grid, block_size = size, shared_size = bytes;
	count = size.x * size.y * size.z;
	launches++;
	// Blocks run in no order on a GPU: backwards here at every second launch, and after each reset at the other ones.
	long long blocks = (long long)grid.x * grid.y * grid.z;
	for (long long k = 0; k < blocks && failure.empty(); k++) {
		long long n = (launches - began + resets) % 2 ? k : blocks - 1 - k;
		block = {unsigned(n % grid.x), unsigned(n / grid.x % grid.y), unsigned(n / grid.x / grid.y)};
		block_number = n;
		run_block();
	}
	current = nullptr;
	return failure;
}

void other_order() { resets++, began = launches; }

static std::map<std::string, Kernel> &registry() {
	static std::map<std::string, Kernel> all;
	return all;
}
void add_kernel(const char *name, Kernel k) { registry()[name] = std::move(k); }
const Kernel *find_kernel(const std::string &name) {
	auto it = registry().find(name);
	return it == registry().end() ? nullptr : &it->second;
}

}  // namespace emulated
