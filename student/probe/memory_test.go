package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemory(t *testing.T) {
	const gb = 1_000_000_000
	imagenet := size{train: 1_281_167, test: 50_000, dim: 1536, classes: 1000, layers: 13}
	for _, c := range []struct {
		free, cores, want int
		message           string // a piece of the error
	}{
		{1000 * gb, 8, 8, ""},
		{200 * gb, 8, 2, ""},
		{130 * gb, 8, 0, "a probe of 13 layers with 1281167 and 50000 images takes 149.1 GB of memory, of which 130.0 GB are free: give at most 10 at a time with --layers"},
		{20 * gb, 8, 0, "one layer takes 51.0 GB, so take one with --layers and less than 40 % of the images"},
	} {
		n, err := imagenet.fit(c.free, c.cores)
		if n != c.want || (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
			t.Errorf("%d bytes free: %d at a time, %v", c.free, n, err)
		}
	}
	if err := imagenet.beside(107 * gb); err != nil {
		t.Error(err)
	}
	if err := imagenet.beside(106 * gb); err == nil || !strings.Contains(err.Error(), "take 106.3 GB of memory, of which 106.0 GB are free beside the encoder") {
		t.Errorf("106 GB beside the encoder: %v", err)
	}
	if free, err := freeMemory(); err != nil || free < gb/100 {
		t.Errorf("%d bytes are free, %v", free, err)
	}
}

// Files that a control group has cached do not count as taken.
func TestControlGroupLeaves(t *testing.T) {
	for want, files := range map[int]map[string]string{
		700: {"memory.max": "1000\n", "memory.current": "900\n", "memory.stat": "anon 100\ninactive_file 600\nactive_file 200\n"},
		100: {"memory.max": "1000\n", "memory.current": "900\n"},
		0:   {"memory.max": "1000\n", "memory.current": "1100\n"},
		-1:  {"memory.max": "max\n", "memory.current": "1100\n"},
	} {
		dir := t.TempDir()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if left, ok := groupLeaves(dir); ok != (want >= 0) || ok && left != want {
			t.Errorf("%v leave %d, %v, want %d", files, left, ok, want)
		}
	}
}
