package student

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"mvptargets/blas/cpu"
	"mvptargets/student/studenttest"
)

// A step of 2048 images takes what one of 32 takes, in micro-batches of the same size: on the device to the byte, and in the process but
// for the order of an epoch's rows (16 bytes each) and what the allocators swing.
func TestMemoryDoesNotGrowWithTheBatch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.toml")
	if err := os.WriteFile(path, []byte(studenttest.Recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	images, store := studenttest.Data(t, 1024, 1)
	var device, process []int
	for _, batch := range []int{32, 32, 2048} { // the first one warms up
		recipe, err := ReadRecipe(path, []string{fmt.Sprintf("train.batch=%d", batch), "train.micro_batch=4", "train.epochs=2"})
		if err != nil {
			t.Fatal(err)
		}
		trainer, err := newTrainer(dev, Job{Recipe: recipe, Targets: store, Images: images, Run: filepath.Join(dir, fmt.Sprint("run", len(device))),
			Keep: 1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		feed := trainer.loader.Feed(0, 1)
		if err := trainer.step(context.Background(), feed); err != nil {
			t.Fatal(err)
		}
		if _, err := trainer.figures(); err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for _, a := range dev.Live() {
			bytes += a.Bytes
		}
		debug.FreeOSMemory()
		device, process = append(device, bytes), append(process, residentBytes(t))
		feed.Close()
		trainer.close()
	}
	t.Logf("device %v, process %v bytes", device, process)
	if device[2] != device[1] {
		t.Errorf("a batch of 2048 takes %d bytes of the device, one of 32 %d", device[2], device[1])
	}
	if grown := process[2] - process[1]; grown > maxGrowth {
		t.Errorf("a batch of 2048 takes %d bytes more than one of 32", grown)
	}
}
