// Device memory with guards, and the check of every access of a kernel: g++ compiles the kernels with -fsanitize=thread, whose calls
// before each load and store are answered here in place of that sanitizer's own library.
#include "memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string_view>
#include <vector>

#include "block.h"
#include "stream.h"

namespace emulated {
namespace {

constexpr size_t PAGE = 256, REGION = size_t(16) << 30, CELL = 2;  // addresses are never used twice

// Cell is the last write and the last reads of two bytes.
struct Cell { Progress write, read; };
constexpr uint16_t WARPS = 0xffff, WARP = 0x8000;  // read.thread: by threads of several warps; WARP|w by several of warp w
constexpr unsigned BLOCKS = 0xffffffff;            // read.block: by several blocks

// Trace is who used a page last: the operation that wrote it, and since then the last to read it of each of some streams.
constexpr int READERS = 3;
struct Trace { Stamp write, reads[READERS]; };

struct Allocation { char *start; size_t bytes; bool live; };

char *region;
size_t used, total = size_t(2) << 30, held;
Cell *cells;
Trace *traces;                    // of each page
uint32_t *owner;                  // of each page: index into allocations, 0 for none
std::vector<Allocation> all(1);
std::map<char *, size_t> pins;
std::vector<Cell> shared_cells;

void *map(size_t bytes) {
	void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) { perror("emulated device: mmap"); abort(); }
	return p;
}

void reserve() {
	if (region) return;
	region = (char *)map(REGION);
	cells = (Cell *)map(REGION / CELL * sizeof(Cell));
	traces = (Trace *)map(REGION / PAGE * sizeof(Trace));
	owner = (uint32_t *)map(REGION / PAGE * sizeof(uint32_t));
	used = PAGE;
}

// forget gives the pages of the processor between two offsets back to the system.
void forget(void *base, size_t from, size_t to) {
	from = (from + 4095) / 4096 * 4096, to = to / 4096 * 4096;
	if (to > from) madvise((char *)base + from, to - from, MADV_DONTNEED);
}

std::string text(const char *format, size_t a, size_t b, size_t c) {
	char out[200];
	snprintf(out, sizeof out, format, a, b, c);
	return out;
}

int warp_of(const Progress &r) { return r.thread & WARP ? r.thread & 0x7fff : r.thread / 32; }

// races says whether an earlier access may happen at the same time as the present one, of another thread.
bool races(const Progress &before, const Progress &now) {
	if (before.launch != now.launch) return false;
	if (before.block != now.block) return true;
	if (before.barrier != now.barrier || before.thread == now.thread) return false;
	if (before.thread == WARPS || warp_of(before) != now.thread / 32) return true;
	return before.step >= now.step;
}

void note_read(Progress &r, const Progress &now) {
	if (r.launch != now.launch) { r = now; return; }
	if (r.block != now.block) { r.block = BLOCKS; return; }
	if (r.barrier != now.barrier) { r = now; return; }
	if (r.thread == now.thread) { r.step = now.step; return; }
	if (r.thread == WARPS) return;
	if (warp_of(r) == now.thread / 32) r = now, r.thread = WARP | (now.thread / 32);
	else r.thread = WARPS;
}

void touch(const Progress &now, Cell *c, size_t n, bool write, const char *what) {
	for (size_t i = 0; i < n; i++, c++) {
		if (races(c->write, now)) fail(std::string("race on ") + what + (write ? ": two writes" : ": a read beside a write"));
		if (!write) { note_read(c->read, now); continue; }
		if (races(c->read, now)) fail(std::string("race on ") + what + ": a write beside a read");
		c->write = now;
	}
}

// ordered says whether an operation is done before the running one begins.
bool ordered(const Stamp &before) {
	if (!before.stream || before.stream == running.stamp.stream) return true;
	auto it = running.clock->find(before.stream);
	return it != running.clock->end() && it->second >= before.at;
}

// use notes a use of a page by the running operation; it says what it races with, or nullptr.
const char *use(Trace &t, bool write) {
	if (!ordered(t.write)) return write ? "a write beside a write of another stream" : "a read beside a write of another stream";
	if (!write) {
		for (Stamp &r : t.reads)
			if (!r.stream || r.stream == running.stamp.stream || ordered(r)) { r = running.stamp; return nullptr; }
		return "more streams read than are watched";
	}
	for (Stamp &r : t.reads) {
		if (!ordered(r)) return "a write beside a read of another stream";
		r = {};
	}
	t.write = running.stamp;
	return nullptr;
}
constexpr char BETWEEN[] = "race between streams, no event orders ";

}  // namespace

std::string trace(const void *p, size_t bytes, bool write) {
	if (!bytes) return "";
	size_t at = (const char *)p - region;
	for (size_t page = at / PAGE; page <= (at + bytes - 1) / PAGE; page++)
		if (const char *race = use(traces[page], write)) return std::string(BETWEEN) + race;
	return "";
}

size_t size_at(const void *p) { return all[owner[((const char *)p - region) / PAGE]].bytes; }

void *allocate(size_t bytes) {
	reserve();
	size_t pages = (bytes + PAGE - 1) / PAGE + 1;  // and a guard
	if (held + bytes > total || used + (pages + 1) * PAGE > REGION) return nullptr;
	used = (used + 511) / 512 * 512;  // as the driver aligns
	char *p = region + used;
	memset(p, 0xff, pages * PAGE);
	for (size_t i = 0; i + 1 < pages; i++) owner[used / PAGE + i] = all.size();
	all.push_back({p, bytes, true});
	used += pages * PAGE;
	held += bytes;
	return p;
}

bool release(void *p) {
	if (p < region || p >= region + REGION) return false;
	Allocation &a = all[owner[((char *)p - region) / PAGE]];
	if (!a.live || a.start != p) return false;
	a.live = false;
	held -= a.bytes;
	size_t first = a.start - region, end = first + a.bytes;  // what is of no more use: no address is used twice
	forget(region, first, end);
	forget(cells, first / CELL * sizeof(Cell), end / CELL * sizeof(Cell));
	forget(traces, first / PAGE * sizeof(Trace), end / PAGE * sizeof(Trace));
	return true;
}

std::string in_device(const void *p, size_t bytes) {
	size_t at = (const char *)p - region;
	if (!region || p < region || at >= REGION) return text("address 0x%zx is not the device's", (size_t)p, 0, 0);
	const Allocation &a = all[owner[at / PAGE]];
	if (!a.start) return text("address 0x%zx belongs to no allocation", (size_t)p, 0, 0);
	if (!a.live) return text("address 0x%zx is %zu bytes into memory that was freed", (size_t)p, (const char *)p - a.start, 0);
	size_t offset = (const char *)p - a.start;
	if (offset + bytes > a.bytes) return text("%zu bytes at %zu of an allocation of %zu", bytes, offset, a.bytes);
	return "";
}

void access(const void *p, size_t bytes, bool write) {
	if (!current || on_stack(p)) return;
	const std::string_view verb = write ? "write of " : "read of ";
	const unsigned char *s = shared_memory();
	if (p >= s && p < s + (227 << 10)) {
		size_t at = (const unsigned char *)p - s;
		if (at + bytes > shared_bytes()) fail(std::string(verb) + text("%zu bytes at %zu of %zu bytes of shared memory", bytes, at, shared_bytes()));
		if (at % bytes) fail(std::string(verb) + text("%zu bytes at %zu of shared memory: misaligned", bytes, at, 0));
		if (shared_cells.empty()) shared_cells.resize((227 << 10) / CELL);
		Progress now = progress();
		now.launch = now.launch * 0x10000u + now.block, now.block = 0;  // each block has its own shared memory
		touch(now, &shared_cells[at / CELL], (bytes + CELL - 1) / CELL, write, "shared memory");
		return;
	}
	if (p >= region && p < region + REGION) {
		const Allocation &a = all[owner[((const char *)p - region) / PAGE]];
		if (!a.live || (const char *)p + bytes > a.start + a.bytes) fail(std::string(verb) + in_device(p, bytes));
		if ((size_t)p % bytes) fail(std::string(verb) + text("%zu bytes at address 0x%zx: misaligned", bytes, (size_t)p, 0));
		if (const char *race = use(traces[((const char *)p - region) / PAGE], write)) fail(std::string(BETWEEN) + race);
		if (bytes < CELL) return;  // single bytes are read only, or copied within one thread's own row
		touch(progress(), cells + ((const char *)p - region) / CELL, bytes / CELL, write, "global memory");
		return;
	}
	if ((size_t)p < 1 << 20) fail(std::string(verb) + text("%zu bytes at address 0x%zx", bytes, (size_t)p, 0));
	if (pinned(p, 1)) fail(std::string(verb) + "the host's memory");
}

void *pin(size_t bytes) {
	char *p = (char *)map((bytes + 4095) / 4096 * 4096);
	pins[p] = bytes;
	return p;
}

bool unpin(void *p) {
	auto it = pins.find((char *)p);
	if (it == pins.end()) return false;
	munmap(p, (it->second + 4095) / 4096 * 4096);
	pins.erase(it);
	return true;
}

bool pinned(const void *p, size_t bytes) {
	auto it = pins.upper_bound((char *)p);
	if (it == pins.begin()) return false;
	--it;
	return (const char *)p + bytes <= it->first + it->second;
}

size_t room() { return total - held; }
size_t capacity() { return total; }
void set_capacity(size_t bytes) { total = bytes; }
void release_all() {
	for (size_t i = 1; i < all.size(); i++)
		if (all[i].live) release(all[i].start);
	while (!pins.empty()) unpin(pins.begin()->first);
}
size_t allocations() {
	size_t n = pins.size();
	for (const Allocation &a : all) n += a.live;
	return n;
}

}  // namespace emulated

#define HOOKS(n)                                                                              \
	extern "C" void __tsan_read##n(void *p) { emulated::access(p, n, false); }               \
	extern "C" void __tsan_write##n(void *p) { emulated::access(p, n, true); }               \
	extern "C" void __tsan_unaligned_read##n(void *p) { emulated::access(p, n, false); }     \
	extern "C" void __tsan_unaligned_write##n(void *p) { emulated::access(p, n, true); }     \
	extern "C" void __tsan_volatile_read##n(void *p) { emulated::access(p, n, false); }      \
	extern "C" void __tsan_volatile_write##n(void *p) { emulated::access(p, n, true); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
extern "C" void __tsan_read_range(void *p, size_t n) { for (size_t i = 0; i < n; i++) emulated::access((char *)p + i, 1, false); }
extern "C" void __tsan_write_range(void *p, size_t n) { for (size_t i = 0; i < n; i++) emulated::access((char *)p + i, 1, true); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void **, void *) {}
extern "C" void __tsan_vptr_read(void **) {}
