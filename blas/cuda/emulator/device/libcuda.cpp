// The entry points of libcuda.so.1 on the emulated device, with the checks that a GPU makes late or not at all: that a context is
// current on the calling thread, that every range lies in live memory, that copies from the host come from pinned memory, that
// nothing waits or allocates while a graph is captured.
#include <algorithm>
#include <memory>
#include <cstring>
#include <map>
#include <set>

#include "../../driver.h"
#include "block.h"
#include "memory.h"
#include "stream.h"

using namespace emulated;

enum { INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_IMAGE = 200, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700,
       LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900 };

struct CUmod_st { std::string image; };
struct CUfunc_st { std::string name; const Kernel *kernel; int shared; };

namespace {

std::map<std::string, long> counts;
std::map<std::string, std::pair<long, int>> faults;  // call -> calls until it fails, with what
std::set<CUstream_st *> streams;
std::set<CUevent_st *> events;
std::set<CUmod_st *> modules;
std::set<CUgraph_st *> graphs;
std::set<CUgraphExec_st *> execs;
std::map<std::string, CUfunc_st *> functions;
thread_local bool is_current;
int retained, code;
std::string reason;
int capturing, pools = 1;
unsigned numbered;  // streams so far
Clock host;         // what the host has waited for

// enter counts a call and says with what it must fail; -1 for one that succeeds and does nothing.
int enter(const char *call, bool needs_context) {
	counts[call]++;
	auto f = faults.find(call);
	if (f != faults.end() && --f->second.first == 0) {
		int c = f->second.second;
		faults.erase(f);
		if (c >= 700 && c < 900) broke(c, std::string("injected at ") + call);
		return c;
	}
	if (needs_context && !is_current) return INVALID_CONTEXT;
	return needs_context ? code : 0;
}

#define ENTER(call) \
	if (int e = enter(#call, true)) return (CUresult)std::max(e, 0);
#define ENTER_FREE(call) \
	if (int e = enter(#call, false)) return (CUresult)std::max(e, 0);
#define NOT_WHILE_CAPTURING \
	if (capturing) return (CUresult)CAPTURE_UNSUPPORTED;

CUresult invalid(const std::string &why_) {
	reason = why_;
	return (CUresult)INVALID_VALUE;
}

// range checks device memory at the time of the call; work that runs later checks again.
#define RANGE(p, n)                                                                      \
	if (std::string wrong_ = in_device((void *)(p), n); !wrong_.empty()) return invalid(wrong_);

// reach checks device memory that a copy, fill, or the memory's own start or end uses, when it does.
bool reach(CUdeviceptr p, size_t n, bool write, const char *what) {
	std::string wrong = in_device((void *)p, n);
	if (!wrong.empty()) broke(ILLEGAL_ADDRESS, std::string(what) + ": " + wrong);
	else if (wrong = trace((void *)p, n, write); !wrong.empty()) broke(LAUNCH_FAILED, wrong + ": " + what);
	return !code;
}

// sum tells whether memory of the host changes.
size_t sum(const void *p, size_t n) {
	size_t h = n;
	for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)p)[i]) * 1099511628211u;
	return h;
}

// reached is what is done when all of a stream's operations so far are.
Clock reached(CUstream_st *s) {
	Clock c = s->clock;
	c[s->number] = s->issued;
	return c;
}

}  // namespace

namespace emulated {

void issue(CUstream_st *s, std::function<void()> work) {
	if (s->capture) { s->capture->push_back(std::move(work)); return; }
	join(s->clock, host);
	s->issued++;
	s->waiting.push_back({std::move(work), {{s->number, (unsigned)s->issued}, std::make_shared<const Clock>(s->clock)}});
}

Running running;

void join(Clock &c, const Clock &with) {
	for (auto [stream, at] : with) c[stream] = std::max(c[stream], at);
}

void finish(CUstream_st *s, size_t upto) {
	while (s->done < upto) {
		Operation next = std::move(s->waiting.front());
		s->waiting.pop_front();
		s->done++;
		std::swap(running, next.as);
		if (!code) next.work();
		std::swap(running, next.as);
	}
}

void finish_all() {
	for (CUstream_st *s : streams) finish(s, s->issued), join(host, reached(s));
}

void broke(int c, const std::string &w) {
	if (!code) code = c, reason = w;
}
int broken() { return code; }
const std::string &why() { return reason; }

}  // namespace emulated

// For tests: counts of calls, faults to inject, the device's size, and what is left.
extern "C" {
long emulator_count(const char *call) { return counts[call]; }
void emulator_fail(const char *call, long nth, int with) { faults[call] = {nth, with}; }
size_t emulator_capacity(size_t bytes) {
	if (bytes) set_capacity(bytes);
	return capacity();
}
long emulator_room() { return room(); }
const char *emulator_finish() {
	finish_all();
	return code ? reason.c_str() : "";
}
long emulator_pending() {
	long n = 0;
	for (CUstream_st *s : streams) n += s->issued - s->done;
	return n;
}
void emulator_pools(int there) { pools = there; }
long emulator_left() { return allocations() + streams.size() + events.size() + modules.size() + graphs.size() + execs.size() + retained; }
void emulator_reset() {
	counts.clear(), faults.clear(), host.clear();
	other_order();
	code = 0, reason = "";
	capturing = retained = 0, pools = 1;
	// What a device that was lost could not give back.
	streams.clear(), events.clear(), modules.clear(), graphs.clear(), execs.clear();
	release_all();
	set_capacity(size_t(2) << 30);
}
void emulator_issue(CUstream s, void (*work)(void *), void *with) { issue(s, [=] { work(with); }); }
int emulator_range(const void *p, size_t n, char *text, size_t room_) {
	std::string wrong = in_device(p, n);
	snprintf(text, room_, "%s", wrong.c_str());
	return wrong.empty();
}
int emulator_reach(const void *p, size_t n, int write, const char *what) { return reach((CUdeviceptr)p, n, write, what); }
int emulator_stream(CUstream s) { return streams.count(s); }

CUresult cuInit(unsigned) { ENTER_FREE(cuInit) return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int *v) { ENTER_FREE(cuDriverGetVersion) *v = 13000; return CUDA_SUCCESS; }

CUresult cuGetErrorName(CUresult e, const char **text) {
	static const std::map<int, const char *> names = {{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"},
		{100, "CUDA_ERROR_NO_DEVICE"}, {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
		{INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"}, {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"}, {600, "CUDA_ERROR_NOT_READY"},
		{ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
		{CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}};
	auto it = names.find(e);
	*text = it == names.end() ? "CUDA_ERROR_UNKNOWN" : it->second;
	return CUDA_SUCCESS;
}

// The driver's texts are terse; this one says what the emulated device found.
CUresult cuGetErrorString(CUresult e, const char **text) {
	static thread_local std::string out;
	out = e == 2 ? "out of memory" : reason.empty() ? "an error" : "emulated device: " + reason;
	*text = out.c_str();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *n) { ENTER_FREE(cuDeviceGetCount) *n = 1; return CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *d, int i) { ENTER_FREE(cuDeviceGet) if (i) return invalid("device ordinal"); *d = 0; return CUDA_SUCCESS; }
CUresult cuDeviceGetName(char *name, int n, CUdevice) { ENTER_FREE(cuDeviceGetName) snprintf(name, n, "emulated device"); return CUDA_SUCCESS; }
CUresult cuDeviceTotalMem_v2(size_t *n, CUdevice) { ENTER_FREE(cuDeviceTotalMem_v2) *n = capacity(); return CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice) {
	ENTER_FREE(cuDeviceGetAttribute)
	switch (a) {
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = 4; break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = 9; break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = 0; break;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *v = 227 << 10; break;
	case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *v = pools; break;
	default: return invalid("device attribute");
	}
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *p, CUdevice) { ENTER_FREE(cuDeviceGetDefaultMemPool) *p = (CUmemoryPool)1; return CUDA_SUCCESS; }
CUresult cuMemPoolSetAttribute(CUmemoryPool p, CUmemPool_attribute a, void *) {
	ENTER_FREE(cuMemPoolSetAttribute)
	return p == (CUmemoryPool)1 && a == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? CUDA_SUCCESS : invalid("pool attribute");
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice) { ENTER_FREE(cuDevicePrimaryCtxRetain) retained++; *c = (CUcontext)1; return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { ENTER_FREE(cuDevicePrimaryCtxRelease_v2) if (!retained) return (CUresult)INVALID_CONTEXT; retained--; return CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext c) { ENTER_FREE(cuCtxSetCurrent) is_current = c != nullptr; return CUDA_SUCCESS; }

CUresult cuMemGetInfo_v2(size_t *available, size_t *total) { ENTER(cuMemGetInfo_v2) *available = room(); *total = capacity(); return CUDA_SUCCESS; }
CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t n) {
	ENTER(cuMemAlloc_v2) NOT_WHILE_CAPTURING
	if (!n) return invalid("allocation of 0 bytes");
	void *m = allocate(n);
	if (!m) return (CUresult)CUDA_ERROR_OUT_OF_MEMORY;
	*p = (CUdeviceptr)m;
	return CUDA_SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr p) {
	ENTER(cuMemFree_v2) NOT_WHILE_CAPTURING
	finish_all();
	return release((void *)p) ? CUDA_SUCCESS : invalid("free of what is not allocated");
}
// The memory can be used at once by work on the stream; by other streams' only behind an event.
CUresult cuMemAllocAsync(CUdeviceptr *p, size_t n, CUstream s) {
	ENTER(cuMemAllocAsync) NOT_WHILE_CAPTURING
	if (!pools) return invalid("the device has no memory pools");
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	if (!n) return invalid("allocation of 0 bytes");
	void *m = allocate(n);
	if (!m) finish(s, s->issued), m = allocate(n);  // what the stream was told to free is there for what it allocates next
	if (!m) return (CUresult)CUDA_ERROR_OUT_OF_MEMORY;
	*p = (CUdeviceptr)m;
	issue(s, [=] { reach((CUdeviceptr)m, n, true, "an allocation"); });
	return CUDA_SUCCESS;
}
CUresult cuMemFreeAsync(CUdeviceptr p, CUstream s) {
	ENTER(cuMemFreeAsync) NOT_WHILE_CAPTURING
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	RANGE(p, 1)
	issue(s, [=] {
		if (!reach(p, size_at((void *)p), true, "a free")) return;
		if (!release((void *)p)) broke(ILLEGAL_ADDRESS, "memory freed twice");
	});
	return CUDA_SUCCESS;
}
CUresult cuMemHostAlloc(void **p, size_t n, unsigned) { ENTER(cuMemHostAlloc) NOT_WHILE_CAPTURING *p = pin(n); return CUDA_SUCCESS; }
CUresult cuMemFreeHost(void *p) { ENTER(cuMemFreeHost) finish_all(); return unpin(p) ? CUDA_SUCCESS : invalid("free of what is not pinned"); }

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n, CUstream s) {
	ENTER(cuMemcpyHtoDAsync_v2)
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	RANGE(to, n)
	if (!pinned(from, n)) return invalid("a copy from memory of the host that is not pinned would wait");
	size_t was = sum(from, n);
	issue(s, [=] {
		if (sum(from, n) != was) broke(LAUNCH_FAILED, "race with the host: it wrote where a copy from it was still to be made");
		if (reach(to, n, true, "a copy from the host")) memcpy((void *)to, from, n);
	});
	return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n, CUstream s) {
	ENTER(cuMemcpyDtoHAsync_v2)
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	RANGE(from, n)
	if (!pinned(to, n)) return invalid("a copy to memory of the host that is not pinned would wait");
	if (!s->capture) memset(to, 0xff, n);  // whoever does not wait reads this
	issue(s, [=] { if (reach(from, n, false, "a copy to the host")) memcpy(to, (void *)from, n); });
	return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {
	ENTER(cuMemcpyDtoDAsync_v2)
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	RANGE(to, n) RANGE(from, n)
	issue(s, [=] { if (reach(to, n, true, "a copy") && reach(from, n, false, "a copy")) memcpy((void *)to, (void *)from, n); });
	return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char v, size_t n, CUstream s) {
	ENTER(cuMemsetD8Async)
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	RANGE(to, n)
	issue(s, [=] { if (reach(to, n, true, "a fill")) memset((void *)to, v, n); });
	return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *s, unsigned flags) {
	ENTER(cuStreamCreate)
	if (flags != CU_STREAM_NON_BLOCKING) return invalid("a stream that waits for the default stream");
	streams.insert(*s = new CUstream_st);
	(*s)->number = ++numbered;
	return CUDA_SUCCESS;
}
CUresult cuStreamDestroy_v2(CUstream s) {
	ENTER_FREE(cuStreamDestroy_v2)
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	finish(s, s->issued);
	s->closed = true;  // events still name it
	streams.erase(s);
	return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream s) {
	ENTER(cuStreamSynchronize) NOT_WHILE_CAPTURING
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	finish(s, s->issued);
	join(host, reached(s));
	return (CUresult)code;
}
CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned) {
	ENTER(cuStreamWaitEvent)
	if (!streams.count(s) || !events.count(e)) return (CUresult)INVALID_HANDLE;
	CUstream_st *other = e->stream;
	size_t at = e->at;
	if (other) issue(s, [=] { finish(other, at); });
	join(s->clock, e->clock);
	return CUDA_SUCCESS;
}
CUresult cuStreamBeginCapture_v2(CUstream s, CUstreamCaptureMode) {
	ENTER(cuStreamBeginCapture_v2)
	if (!streams.count(s) || s->capture) return (CUresult)INVALID_HANDLE;
	s->capture = new std::vector<std::function<void()>>;
	capturing++;
	return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream s, CUgraph *g) {
	ENTER(cuStreamEndCapture)
	if (!streams.count(s) || !s->capture) return (CUresult)INVALID_HANDLE;
	graphs.insert(*g = new CUgraph_st{std::move(*s->capture)});
	delete s->capture;
	s->capture = nullptr;
	capturing--;
	return CUDA_SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *x, CUgraph g, unsigned long long) {
	ENTER(cuGraphInstantiateWithFlags)
	if (!graphs.count(g)) return (CUresult)INVALID_HANDLE;
	execs.insert(*x = new CUgraphExec_st{g->work});
	return CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec x, CUstream s) {
	ENTER(cuGraphLaunch) NOT_WHILE_CAPTURING
	if (!streams.count(s) || !execs.count(x)) return (CUresult)INVALID_HANDLE;
	for (auto &work : x->work) issue(s, work);
	return CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec x) { ENTER_FREE(cuGraphExecDestroy) if (!execs.erase(x)) return (CUresult)INVALID_HANDLE; delete x; return CUDA_SUCCESS; }
CUresult cuGraphDestroy(CUgraph g) { ENTER_FREE(cuGraphDestroy) if (!graphs.erase(g)) return (CUresult)INVALID_HANDLE; delete g; return CUDA_SUCCESS; }

CUresult cuEventCreate(CUevent *e, unsigned flags) {
	ENTER(cuEventCreate)
	if (flags != CU_EVENT_DISABLE_TIMING) return invalid("an event that takes times is slow to wait for");
	events.insert(*e = new CUevent_st);
	return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent e) { ENTER_FREE(cuEventDestroy_v2) if (!events.erase(e)) return (CUresult)INVALID_HANDLE; delete e; return CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent e, CUstream s) {
	ENTER(cuEventRecord)
	if (!streams.count(s) || !events.count(e)) return (CUresult)INVALID_HANDLE;
	if (s->capture) return invalid("an event recorded in a capture orders nothing outside it");
	join(s->clock, host);
	e->stream = s, e->at = s->issued, e->clock = reached(s);
	return CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent e) {
	ENTER(cuEventQuery)
	if (!events.count(e)) return (CUresult)INVALID_HANDLE;
	if (e->stream && e->stream->done < e->at) return (CUresult)CUDA_ERROR_NOT_READY;
	join(host, e->clock);
	return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent e) {
	ENTER(cuEventSynchronize) NOT_WHILE_CAPTURING
	if (!events.count(e)) return (CUresult)INVALID_HANDLE;
	if (e->stream) finish(e->stream, e->at), join(host, e->clock);
	return (CUresult)code;
}

CUresult cuModuleLoadData(CUmodule *m, const void *image) {
	ENTER(cuModuleLoadData)
	if (strncmp((const char *)image, "emulated ", 9)) { reason = "no image of the emulated NVRTC"; return (CUresult)INVALID_IMAGE; }
	modules.insert(*m = new CUmod_st{(const char *)image});
	return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule m) { ENTER_FREE(cuModuleUnload) if (!modules.erase(m)) return (CUresult)INVALID_HANDLE; delete m; return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
	ENTER(cuModuleGetFunction)
	if (!modules.count(m)) return (CUresult)INVALID_HANDLE;
	const Kernel *k = find_kernel(name);
	if (!k || m->image.find(std::string(" ") + name + " ") == std::string::npos) { reason = std::string(name) + " is not in " + m->image.substr(0, 40); return (CUresult)NOT_FOUND; }
	CUfunc_st *&known = functions[name];
	if (!known) known = new CUfunc_st{name, k, 48 << 10};
	*f = known;
	return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
	ENTER(cuFuncSetAttribute)
	if (a != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || v > 227 << 10) return invalid("function attribute");
	f->shared = v;
	return CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream s, void **p, void **) {
	ENTER(cuLaunchKernel)
	if (!streams.count(s)) return (CUresult)INVALID_HANDLE;
	if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535) return invalid("grid of " + std::to_string(gx) + " x " + std::to_string(gy) + " x " + std::to_string(gz));
	if (!bx || !by || !bz || bx * by * bz > 1024 || bx * by * bz % 32) return invalid("block of " + std::to_string(bx * by * bz) + " threads");
	if (shared > (unsigned)f->shared) return invalid(std::to_string(shared) + " bytes of shared memory, allowed are " + std::to_string(f->shared));
	auto values = std::make_shared<std::vector<std::vector<char>>>();
	for (size_t i = 0; i < f->kernel->sizes.size(); i++) values->emplace_back((char *)p[i], (char *)p[i] + f->kernel->sizes[i]);
	issue(s, [=] {
		std::vector<void *> at;
		for (auto &v : *values) at.push_back(v.data());
		std::string wrong = run_kernel(f->name, [&] { f->kernel->call(at.data()); }, {gx, gy, gz}, {bx, by, bz}, shared);
		if (!wrong.empty()) broke(wrong.find("race") == 0 || wrong.find("threads wait") == 0 ? LAUNCH_FAILED : ILLEGAL_ADDRESS, wrong);
	});
	return CUDA_SUCCESS;
}
}
