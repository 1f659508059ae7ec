package cpu

// #include <unistd.h>
// #include "detect.h"
import "C"

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// paths are the instruction sets that the kernels are compiled for, each a superset of the one before.
var paths = []string{"portable", "avx2", "avx512", "avx512bf16"}

// choosePath picks the instruction set, or takes MVP_CPU's, and says why where that is not the last one that the processor offers.
func choosePath() (level int, why string, err error) {
	best := int(C.mvp_best_level())
	if name := os.Getenv("MVP_CPU"); name != "" {
		level = slices.Index(paths, name)
		if level < 0 || level > best {
			return 0, "", fmt.Errorf("MVP_CPU=%s: this processor offers %s", name, strings.Join(paths[:best+1], ", "))
		}
		return level, "by MVP_CPU", nil
	}
	if best < 3 {
		return best, "the processor has no " + paths[best+1], nil
	}
	// A pair counts for two numbers, so that below half the rate of float32's multiply-adds it is better to widen. The rates are a
	// quarter or one to one on the processors seen: noise does not decide.
	if rate := float64(C.mvp_pair_rate()); rate < 0.5 {
		return best - 1, fmt.Sprintf("vdpbf16ps runs at %.2f of the rate of float32's multiply-add", rate), nil
	}
	return best, "", nil
}

// useDNN says whether products of bfloat16, or all, go to oneDNN: MVP_GEMM decides, else the processor, since matrix registers (AMX)
// are oneDNN's alone here, and elsewhere the own products are faster (docs/cpu.md).
func useDNN() (bf16, f32 bool, err error) {
	switch name := os.Getenv("MVP_GEMM"); name {
	case "":
		return C.mvp_has_amx_bf16() != 0, false, nil
	case "own":
		return false, false, nil
	case "onednn":
		return true, true, nil
	default:
		return false, false, fmt.Errorf("MVP_GEMM=%s: use own or onednn", name)
	}
}

// blockBytes is how much of an operand stays in one core's second-level cache while the other streams past.
func blockBytes() int {
	const least, most = 256 << 10, 1280 << 10
	return min(max(int(C.sysconf(C._SC_LEVEL2_CACHE_SIZE))*5/8, least), most)
}
