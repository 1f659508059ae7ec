package probe

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// size is what decides how much memory a probe takes.
type size struct{ train, test, dim, classes, layers int }

// features is the size in bytes of both sets' features at all layers, in float32, which are held from the encoder's end on.
func (s size) features() int { return 4 * s.layers * (s.train + s.test) * s.dim }

// classifier is what training and testing one layer takes besides: the training features standardized and rotated and the test features
// standardized, logits, and the covariance with its eigenvectors, in float64.
func (s size) classifier() int {
	return 8 * ((2*s.train+s.test)*s.dim + (s.train+s.test)*s.classes + 4*s.dim*s.dim)
}

// fit says how many classifiers can be trained at a time within free bytes, at most cores. A probe that does not fit with one is refused,
// before anything is computed.
func (s size) fit(free, cores int) (int, error) {
	if n := (free - s.features()) / s.classifier(); n >= 1 {
		return min(n, cores), nil
	}
	one := s
	one.layers = 1
	const gb = 1e9
	message := fmt.Sprintf("a probe of %d layers with %d and %d images takes %.1f GB of memory, of which %.1f GB are free", s.layers, s.train, s.test,
		float64(s.features()+s.classifier())/gb, float64(free)/gb)
	if layers := (free - s.classifier()) / one.features(); layers >= 1 {
		return 0, fmt.Errorf("%s: give at most %d at a time with --layers", message, layers)
	}
	share := float64(free) / float64(one.features()+one.classifier())
	return 0, fmt.Errorf("%s: one layer takes %.1f GB, so take one with --layers and less than %.0f %% of the images", message,
		float64(one.features()+one.classifier())/gb, math.Ceil(100*share))
}

// beside refuses features that do not fit in what the encoder has left free: it is there while they come, the classifiers after it.
func (s size) beside(free int) error {
	if s.features() <= free {
		return nil
	}
	const gb = 1e9
	return fmt.Errorf("the features of %d layers with %d images take %.1f GB of memory, of which %.1f GB are free beside the encoder: give fewer with --layers, or a smaller --batch",
		s.layers, s.train+s.test, float64(s.features())/gb, float64(free)/gb)
}

// freeMemory is what this process may still take, in bytes: what the kernel calls available, or what the process's control group leaves,
// if that is less.
func freeMemory() (int, error) {
	const file = "/proc/meminfo"
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	var free int
	if _, err := fmt.Sscanf(rest, "%d kB", &free); err != nil {
		return 0, fmt.Errorf("%s says nothing of MemAvailable", file)
	}
	free *= 1024
	group, _ := os.ReadFile("/proc/self/cgroup")
	_, path, _ := strings.Cut(strings.TrimSpace(string(group)), "::")
	for dir := filepath.Join("/sys/fs/cgroup", path); strings.HasPrefix(dir, "/sys/fs/cgroup"); dir = filepath.Dir(dir) {
		if left, ok := groupLeaves(dir); ok {
			free = min(free, left)
		}
	}
	return free, nil
}

// groupLeaves is what a control group (cgroup v2) leaves below its limit, if it has one. Cached files that nobody has used for a while count
// as free, since the kernel drops them before it refuses memory.
func groupLeaves(dir string) (bytes int, ok bool) {
	limit := number(dir, "memory.max")
	if limit == 0 {
		return 0, false
	}
	text, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
	_, rest, _ := strings.Cut("\n"+string(text), "\ninactive_file ")
	line, _, _ := strings.Cut(rest, "\n")
	cached, _ := strconv.Atoi(line)
	return max(limit-max(number(dir, "memory.current")-cached, 0), 0), true
}

// number reads a control group's file that holds one; 0 where it holds none, or is not there.
func number(dir, file string) int {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}
