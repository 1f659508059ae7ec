package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mvptargets/student"
)

// memoryCut is how many micro-batches of a step are run for its memory: buffers are there before the first, and the second adds to the
// gradients of the first.
const memoryCut = 4

// memory prints what steps of growing batches take, each in a process of its own.
func (b *bench) memory(ctx context.Context, only string) error {
	fmt.Printf("micro-batches of %d, depth %d, GB; up to %d micro-batches of a step are run\n", b.job.Micro, b.job.Depth, memoryCut)
	fmt.Println("| type | batch | on the device | peak resident, a step | and a checkpoint, written and read |")
	fmt.Println("|---|---|---|---|---|")
	for _, dtype := range []string{"f32", "bf16"} {
		if only != "all" && only != dtype {
			continue
		}
		for _, batch := range []int{b.job.Batch, 8 * b.job.Batch, 64 * b.job.Batch} {
			j := b.job
			j.DType, j.Batch, j.Steps, j.Cut = dtype, batch, 1, memoryCut
			m, err := j.child(ctx)
			if err != nil {
				return err
			}
			fmt.Printf("| %s | %d | %.2f | %.2f | %.2f |\n", dtype, batch, float64(m.Held)/1e9, float64(m.Memory)/1e9, float64(m.Saving)/1e9)
		}
	}
	return nil
}

// peakResident is the most memory that this process has had, in bytes.
func peakResident() (int64, error) {
	var use unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &use)
	return use.Maxrss << 10, err
}

// peakSaving is peakResident after the tensor files of a checkpoint were written and read again.
func peakSaving(m *student.Model) (int64, error) {
	dir, err := os.MkdirTemp("", "bench-step")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	var paths []string
	for name, f := range map[string]*student.TensorFile{"model": m.Weights(), "state": m.TrainingState()} {
		path := filepath.Join(dir, name)
		if err := student.WriteTensors(path, f); err != nil {
			return 0, err
		}
		paths = append(paths, path)
	}
	if err := m.Read(paths...); err != nil {
		return 0, err
	}
	return peakResident()
}
