// The emulated device's memory, and pinned memory of the host.
#ifndef EMULATOR_MEMORY_H
#define EMULATOR_MEMORY_H
#include <cstddef>
#include <string>

namespace emulated {

// allocate gives fresh memory, filled with bytes 0xff (NaN as float, bfloat16 and half); nullptr where the device has no room.
void *allocate(size_t bytes);
bool release(void *p);  // false if p is no live allocation's start

// in_device says why [p, p+bytes) is not inside one live allocation, or "".
std::string in_device(const void *p, size_t bytes);

// trace notes that the running operation uses [p, p+bytes), which is live, and says which earlier use by another stream nothing orders
// before it, or "".
std::string trace(const void *p, size_t bytes, bool write);
size_t size_at(const void *p);  // of the allocation

void *pin(size_t bytes);
bool unpin(void *p);
bool pinned(const void *p, size_t bytes);

size_t room();      // free bytes
size_t capacity();  // of the device
void set_capacity(size_t bytes);
void release_all();
size_t allocations();  // live, device and pinned

}  // namespace emulated
#endif
