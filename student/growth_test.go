package student

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"mvptargets/blas/cpu"
	"mvptargets/student/studenttest"
)

// maxGrowth is what a process may grow by from step 200 to step 1000, in bytes: 2.6 kB a step, less than the pixels of one sample (3 kB),
// and four times the allocators' own swing.
const maxGrowth = 2 << 20

// A thousand steps with metrics, and a checkpoint at each fiftieth, leave the process as large as it was after two hundred, and nothing
// allocated on the device.
func TestAThousandStepsDoNotGrow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.toml")
	if err := os.WriteFile(path, []byte(studenttest.Recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	recipe, err := ReadRecipe(path, []string{"train.batch=4", "train.micro_batch=2", "train.epochs=100", "model.drop_path=0.1"})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	images, store := studenttest.Data(t, 20, 1)
	trainer, err := newTrainer(dev, Job{Recipe: recipe, Targets: store, Images: images, Run: filepath.Join(dir, "run"),
		SaveEvery: SaveEvery{Steps: 50}, Keep: 1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := trainer.begin(); err != nil {
		t.Fatal(err)
	}
	feed := trainer.loader.Feed(0, 1000)
	sizeAfter := func(steps int) int {
		trainer.schedule.Total = steps
		if err := trainer.run(context.Background(), feed); err != nil || trainer.done != steps {
			t.Fatalf("step %d of %d: %v", trainer.done, steps, err)
		}
		debug.FreeOSMemory() // what the garbage collector has not come to is no growth
		return residentBytes(t)
	}
	before := sizeAfter(200)
	after := sizeAfter(1000)
	t.Logf("%.1f MB after step 200, %+.2f MB at step 1000", float64(before)/1e6, float64(after-before)/1e6)
	if after-before > maxGrowth {
		t.Errorf("grown from %d to %d bytes", before, after)
	}
	feed.Close()
	trainer.close()
	if left := dev.Live(); len(left) > 0 {
		t.Errorf("%d tensors are left on the device, the first %+v", len(left), left[0])
	}
}

// residentBytes is the resident set of this process (proc(5): the second number of statm, in pages).
func residentBytes(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(raw))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
