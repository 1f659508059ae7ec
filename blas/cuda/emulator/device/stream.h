// Streams, events and graphs of the emulated device. Nothing runs when it is issued: a stream's work is done when somebody waits for
// it, and then only as much as that wait demands, of other streams through their events too. So work that is not ordered by an
// event is done as late as possible, and a missing event shows as stale data. Besides, each operation knows what is certain to be done
// before it begins, and memory knows who used it last: two streams that use the same memory with no event between are an error,
// whatever came of it.
#ifndef EMULATOR_STREAM_H
#define EMULATOR_STREAM_H
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulated {

// Stamp is an operation: its stream's number, from 1, and its own in the stream, from 1.
struct Stamp { unsigned stream = 0, at = 0; };

// Clock says how many operations of each stream are done before something begins.
using Clock = std::map<unsigned, unsigned>;
void join(Clock &c, const Clock &with);

// The operation that runs, and what is done before it.
struct Running { Stamp stamp; std::shared_ptr<const Clock> clock; };
extern Running running;

struct Operation { std::function<void()> work; Running as; };

}  // namespace emulated

struct CUstream_st {
	std::deque<emulated::Operation> waiting;
	unsigned number;
	emulated::Clock clock;                            // of what is issued next
	size_t done = 0, issued = 0;                      // operations
	std::vector<std::function<void()>> *capture = nullptr;
	bool closed = false;
};
struct CUevent_st {
	CUstream_st *stream = nullptr;
	size_t at = 0;          // operations of the stream that must be done
	emulated::Clock clock;  // what is done when they are
};
struct CUgraph_st { std::vector<std::function<void()>> work; };
struct CUgraphExec_st { std::vector<std::function<void()>> work; };

namespace emulated {

// issue appends work to a stream, or to the graph that it is captured into. work sets broken() where it fails.
void issue(CUstream_st *s, std::function<void()> work);
void finish(CUstream_st *s, size_t upto);
void finish_all();

// broke records what went wrong on the device: every later call fails with this code.
void broke(int code, const std::string &why);
int broken();
const std::string &why();

}  // namespace emulated
#endif
