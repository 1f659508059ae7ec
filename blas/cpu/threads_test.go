package cpu

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGroupLimit(t *testing.T) {
	root := t.TempDir()
	for path, limit := range map[string]string{"": "max 100000\n", "jobs": "250000 100000\n", "jobs/mine": "max 100000\n", "tiny": "1000 100000\n"} {
		if err := os.MkdirAll(filepath.Join(root, path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path, "cpu.max"), []byte(limit), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for own, want := range map[string]int{"0::/jobs/mine\n": 3, "12:cpu:/x\n0::/tiny\n": 1, "0::/\n": 8, "0::/gone\n": 8, "4:cpu:/jobs\n": 8, "": 8} {
		if got := groupLimit(root, own, 8); got != want {
			t.Errorf("%q gives %d, want %d", own, got, want)
		}
	}
}
