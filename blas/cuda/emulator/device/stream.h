// Streams, events and graphs of the emulated device. Nothing runs when it is issued: a stream's work is done when somebody waits for
// it, and then only as much as that wait demands, of other streams through their events too. So work that is not ordered by an
// event is done as late as possible, and a missing event shows as stale data.
#ifndef EMULATOR_STREAM_H
#define EMULATOR_STREAM_H
#include <deque>
#include <functional>
#include <string>
#include <vector>

struct CUevent_st;

struct CUstream_st {
	std::deque<std::function<void()>> waiting;
	size_t done = 0, issued = 0;                      // operations
	std::vector<std::function<void()>> *capture = nullptr;
	bool closed = false;
};
struct CUevent_st {
	CUstream_st *stream = nullptr;
	size_t at = 0;  // operations of the stream that must be done
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
