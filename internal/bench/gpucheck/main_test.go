package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/blas/cuda/emulator"
)

// The check from its first line to its report, on the emulated GPU, which the report names as such: this shows that the program works, not
// that a GPU does. Extraction finds no CUDA provider that works, and the report says so.
func TestReportOfTheEmulatedGPU(t *testing.T) {
	emulator.Use(t)
	t.Chdir("../../..")
	path := filepath.Join(t.TempDir(), "some", "report.txt")
	if err := run(context.Background(), []string{"--quick", "--out", path}); err != nil {
		t.Error(err)
	}
	report, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", report)
	for _, want := range []string{"GPU 0: emulated device, compute capability 9.0", "driver for CUDA 13.0", "--- PASS: TestConformanceOnThisGPU/bf16/fetch_in_order", "\n== parity", "--- PASS: TestTrainsOnThisGPUAsOnRef",
		"\n== extraction", "-- did not run: exit status 1; needs an onnxruntime for GPUs"} {
		if !strings.Contains(string(report), want) {
			t.Errorf("no %q in the report", want)
		}
	}
	if n := strings.Count(string(report), "\n-- passed in "); n != 2 {
		t.Errorf("%d checks passed, want 2", n)
	}
}

// Without a GPU nothing is run, and nothing is written.
func TestNothingWithoutAGPU(t *testing.T) {
	t.Setenv("MVP_CUDA", "/nowhere/libcuda.so.1")
	path := filepath.Join(t.TempDir(), "report.txt")
	if err := run(context.Background(), []string{"--out", path}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a report of no GPU was written")
	}
}
