// The entry points of libnvrtc on the emulated device. The image is the list of the program's kernels; it is given only for the
// source from which this library itself was built, so that no other text can be taken for what ran.
#include <cstring>
#include <map>
#include <string>

#include "../../driver.h"
#include "sources.h"  // generated: name of each file and its text

struct _nvrtcProgram { std::string source, name, image, log; };

extern "C" {
nvrtcResult nvrtcVersion(int *major, int *minor) { *major = 0, *minor = 0; return NVRTC_SUCCESS; }
const char *nvrtcGetErrorString(nvrtcResult) { return "emulated NVRTC"; }
nvrtcResult nvrtcGetNumSupportedArchs(int *n) { *n = 1; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetSupportedArchs(int *a) { *a = 90; return NVRTC_SUCCESS; }
nvrtcResult nvrtcCreateProgram(nvrtcProgram *p, const char *source, const char *name, int headers, const char *const *texts, const char *const *names) {
	*p = new _nvrtcProgram{source, name, "", ""};
	for (int i = 0; i < headers; i++)
		if (emulated_sources().at(names[i]).text != texts[i]) (*p)->log += std::string(names[i]) + " is not what the emulator was built from. ";
	return NVRTC_SUCCESS;
}
nvrtcResult nvrtcDestroyProgram(nvrtcProgram *p) { delete *p; *p = nullptr; return NVRTC_SUCCESS; }
nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int, const char *const *) {
	auto it = emulated_sources().find(p->name);
	if (it == emulated_sources().end() || it->second.text != p->source) p->log += p->name + " is not what the emulator was built from.";
	if (!p->log.empty()) return (nvrtcResult)NVRTC_ERROR_COMPILATION;
	p->image = "emulated " + p->name + " " + it->second.kernels + " ";
	return NVRTC_SUCCESS;
}
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *n) { *n = p->image.size() + 1; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *out) { memcpy(out, p->image.c_str(), p->image.size() + 1); return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetPTXSize(nvrtcProgram, size_t *n) { *n = 0; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetPTX(nvrtcProgram, char *) { return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram p, size_t *n) { *n = p->log.size() + 1; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetProgramLog(nvrtcProgram p, char *out) { memcpy(out, p->log.c_str(), p->log.size() + 1); return NVRTC_SUCCESS; }
}
