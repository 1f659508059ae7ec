package cpu

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// allowedProcessors counts the affinity mask, which a container or a job scheduler may have narrowed, and takes the control group's limit
// of processor time where that is less.
func allowedProcessors() int {
	n := runtime.NumCPU()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err == nil && set.Count() > 0 {
		n = set.Count()
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return n
	}
	return min(n, groupLimit("/sys/fs/cgroup", string(own), n))
}

// groupLimit is the least limit, in whole processors, of a process's control group and those above it (cgroup v2: cpu.max holds "quota
// period"; its line in /proc/self/cgroup is "0::PATH"); none is otherwise. Part of a processor counts as one.
func groupLimit(root, own string, none int) int {
	path, found := "", false
	for line := range strings.Lines(own) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path, found = p, true
		}
	}
	if !found {
		return none
	}
	limit := none
	for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
		if raw, err := os.ReadFile(filepath.Join(root, path, "cpu.max")); err == nil {
			var quota, period float64
			if f := strings.Fields(string(raw)); len(f) == 2 {
				quota, _ = strconv.ParseFloat(f[0], 64) // "max" gives 0: no limit
				period, _ = strconv.ParseFloat(f[1], 64)
			}
			if quota > 0 && period > 0 {
				limit = min(limit, max(1, int((quota+period-1)/period)))
			}
		}
		if path == "/" {
			return limit
		}
	}
}
