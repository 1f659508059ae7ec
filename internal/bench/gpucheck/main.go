// gpucheck runs on a machine with an NVIDIA GPU what could not be run without one, and writes one report that can be sent: the conformance
// suite, parity with the plain device and PyTorch's golden model, a step's time beside PyTorch's where torch is installed, and
// extraction with onnxruntime's CUDA provider. Without a GPU it says so and runs nothing.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"mvptargets/blas/cuda"
	"mvptargets/internal/atomicfile"
	"mvptargets/internal/cli"
)

func main() { cli.Main("gpu-check", run) }

// check is one command of the report. Where optional, its failure is told and does not fail the whole.
type check struct {
	title    string
	optional string // why it may fail
	command  []string
}

func checks(python, temp string, batch int, quick bool) []check {
	parity := check{"parity: PyTorch's golden model, and 20 steps against the plain device", "", []string{"go", "test", "-count=1", "-run", "OnThisGPU", "-v", "./student"}}
	extraction := check{"extraction with the CUDA provider", "needs an onnxruntime for GPUs, see docs/gpu.md", []string{"go", "run", "./cmd/mvp-extract", "--provider", "cuda",
		"--model", "testdata/teacher/teacher.onnx", "--images", "testdata/scenes/test", "--features", "last_hidden_state", "--out", filepath.Join(temp, "store")}}
	if quick {
		return []check{{"conformance: some operations against the plain device", "", []string{"go", "test", "-count=1", "-v", "-run", "OnThisGPU/bf16/(losses|order|record)", "./blas/cuda"}},
			parity, extraction}
	}
	step := func(more ...string) []string {
		return append([]string{"go", "run", "./internal/bench/step", "--device", "cuda", "--batch", fmt.Sprint(batch), "--micro", fmt.Sprint(batch)}, more...)
	}
	return []check{
		{"conformance: every operation against the plain device", "", []string{"go", "test", "-count=1", "-run", "OnThisGPU", "./blas/cuda"}},
		parity,
		{"step, bf16", "", step("--dtype", "bf16", "--steps", "20")},
		{"step, float32", "", step("--dtype", "f32", "--steps", "20")},
		{"step, bf16, operation by operation", "", step("--dtype", "bf16", "--steps", "5", "--profile")},
		{"the same step in PyTorch", "torch with CUDA may not be installed", []string{python, "internal/bench/step/peer_gpu.py", "--batch", fmt.Sprint(batch)}},
		{"the same step in PyTorch, compiled", "torch with CUDA may not be installed", []string{python, "internal/bench/step/peer_gpu.py", "--batch", fmt.Sprint(batch), "--compile"}},
		extraction,
		{"CUDA graphs for the teacher: the same features", "", []string{"go", "test", "-count=1", "-run", "OnThisGPU", "-v", "./extract/teacher"}},
	}
}

func run(ctx context.Context, args []string) error {
	f := cli.Flags("gpu-check", "[flags]\nChecks and times this machine's NVIDIA GPU and writes one report file; without a GPU it runs nothing.")
	out := f.String("out", "build/gpu-report.txt", "the report, a `file`")
	python := f.String("python", "python3", "a Python that may have torch, a `program`")
	batch := f.Int("batch", 256, "`images` in a step")
	quick := f.Bool("quick", false, "some of conformance, parity and extraction only")
	if err := f.Parse(args); err != nil {
		return err
	}
	gpus, driver, err := cuda.List()
	if err != nil || len(gpus) == 0 {
		fmt.Println("no NVIDIA GPU here, nothing was run:", reason(err))
		return nil
	}
	var report bytes.Buffer
	fmt.Fprintf(&report, "mvp-targets gpu-check, %s, %s\n%s\n", time.Now().UTC().Format(time.DateTime), runtime.Version(), driver)
	for _, g := range gpus {
		fmt.Fprintf(&report, "GPU %d: %s\n", g.Ordinal, g)
	}
	for _, line := range cuda.Libraries() {
		fmt.Fprintln(&report, line)
	}
	temp, err := os.MkdirTemp("", "gpu-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	failed := 0
	for _, c := range checks(*python, temp, *batch, *quick) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Println(c.title)
		if err := c.run(ctx, &report); err != nil && c.optional == "" {
			failed++
		}
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(*out, report.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Println("the report is", *out)
	if failed > 0 {
		return fmt.Errorf("%d checks failed, see %s: please send it", failed, *out)
	}
	return nil
}

func reason(err error) string {
	if err == nil {
		return "the driver knows none"
	}
	return err.Error()
}

// run adds a command, its output's end and what came of it to the report.
func (c check) run(ctx context.Context, report *bytes.Buffer) error {
	start := time.Now()
	text, err := exec.CommandContext(ctx, c.command[0], c.command[1:]...).CombinedOutput()
	const most = 8000
	if len(text) > most {
		text = append([]byte("...\n"), text[len(text)-most:]...)
	}
	verdict := "passed"
	if err != nil {
		verdict = "FAILED: " + err.Error()
		if c.optional != "" {
			verdict = "did not run: " + err.Error() + "; " + c.optional
		}
	}
	fmt.Fprintf(report, "\n== %s\n$ %s\n%s\n-- %s in %.0f s\n", c.title, strings.Join(c.command, " "), bytes.TrimSpace(text), verdict, time.Since(start).Seconds())
	fmt.Println("   ", verdict)
	return err
}
