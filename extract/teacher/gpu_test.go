package teacher

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// gpuLibraries skips the test where onnxruntime for GPUs is not installed: 1.6 GB, which CI does not download.
func gpuLibraries(t *testing.T) {
	t.Helper()
	if _, err := find(library(gpuWheel, gpuRemedy)); err != nil {
		t.Skip(err)
	}
	for _, spec := range cudaLibraries {
		if _, err := spec.Find(); err != nil {
			t.Skip(err)
		}
	}
}

// tryCUDA runs a tower on CUDA in a process of its own, since this one may have the other onnxruntime.
func tryCUDA(t *testing.T, o Options) error {
	t.Helper()
	o.Provider = "cuda"
	return tryInChild(context.Background(), probeRequest{Model: filepath.Join("testdata", "tower.onnx"), Feature: Projected, Options: o})
}

func TestCUDAWithItsLibraries(t *testing.T) {
	gpuLibraries(t)
	for _, graphs := range []bool{false, true} {
		err := tryCUDA(t, Options{Precision: "f32", Batch: 2, GPU: GPU{Graphs: graphs}})
		if _, missing := driver.Open(); missing == nil {
			if err != nil {
				t.Errorf("graphs %v: there is a driver, but CUDA gives %v", graphs, err)
			}
			continue
		}
		if err == nil || !strings.HasSuffix(err.Error(), "on provider cuda: "+driverHelp) || strings.Contains(err.Error(), "\n") {
			t.Errorf("graphs %v: without a driver CUDA gives %v", graphs, err)
		}
	}
}

// A replayed graph gives what the CUDA provider gives without one, batch after batch.
func TestGraphsOnThisGPU(t *testing.T) {
	gpuLibraries(t)
	if _, err := driver.Open(); err != nil {
		t.Skip(driverHelp)
	}
	if err := load(library(gpuWheel, gpuRemedy)); err != nil {
		t.Skip(err) // among other tests; `go test -run OnThisGPU` has the process to itself
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o, all := Options{Provider: "cuda", Precision: "f32", Batch: 3}, images(t)
	plain := open(t, "tower.onnx", Projected, o)
	o.GPU.Graphs = true
	graphs := open(t, "tower.onnx", Projected, o)
	for i := range 4 {
		rows := [][]uint8{all[i%4], all[(i+1)%4], all[(i+2)%4]}
		if got, want := run(t, graphs, rows), run(t, plain, rows); !bytes.Equal(got.features, want.features) {
			t.Errorf("batch %d has other features than without graphs", i)
		}
	}
}

func TestAutoGoesOnWithoutAGPU(t *testing.T) {
	gpuLibraries(t)
	if _, err := driver.Open(); err == nil {
		t.Skip("this machine has NVIDIA's driver")
	}
	name, log, err := choose(t, Options{Precision: "f32"})
	if err != nil || name != "openvino" || !strings.Contains(log, "not cuda: ") || !strings.Contains(log, driverHelp) {
		t.Errorf("chose %q, %v, and logged %s", name, err, log)
	}
}

func TestCUDAWithoutItsLibraries(t *testing.T) {
	t.Setenv("MVP_ONNXRUNTIME", "/nonexistent/libonnxruntime.so")
	if err := tryCUDA(t, Options{Precision: "f32", Batch: 2}); err == nil || !strings.Contains(err.Error(), "onnxruntime for GPUs not found") || !strings.HasSuffix(err.Error(), gpuRemedy) {
		t.Errorf("gives %v", err)
	}
	os.Unsetenv("MVP_ONNXRUNTIME")
	path, err := library(openvinoWheel, libraryRemedy).Find()
	if err != nil {
		t.Skip(err)
	}
	t.Setenv("MVP_ONNXRUNTIME", path)
	if err := tryCUDA(t, Options{Precision: "f32", Batch: 2}); err == nil || !strings.Contains(err.Error(), "no libonnxruntime_providers_cuda.so beside it; "+gpuRemedy) {
		t.Errorf("with the other build: %v", err)
	}
}

func TestGPUPrecisions(t *testing.T) {
	named := func(name string) provider {
		p, err := providerNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		provider, precision string
		half                bool
		want                string
	}{
		{"cuda", "f32", false, ""}, {"cuda", "f16", true, ""}, {"tensorrt", "f16", false, ""}, {"tensorrt", "bf16", false, ""},
		{"cuda", "f16", false, "--half"}, {"cuda", "f32", true, "use --precision f16"}, {"tensorrt", "f32", false, "computes in f16, bf16 only"},
	} {
		err := named(c.provider).supports(c.precision, c.half)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v gives %v", c, err)
		}
	}
}

func TestGPUOptions(t *testing.T) {
	if o := cudaOptions(GPU{Device: 2, MemoryMiB: 1024}); o["device_id"] != "2" || o["gpu_mem_limit"] != "1073741824" || o["use_tf32"] != "0" {
		t.Errorf("cuda: %v", o)
	}
	if o := cudaOptions(GPU{}); o["device_id"] != "0" || o["gpu_mem_limit"] != "" || o["enable_cuda_graph"] != "" {
		t.Errorf("cuda: %v", o)
	}
	if o := cudaOptions(GPU{Graphs: true}); o["enable_cuda_graph"] != "1" {
		t.Errorf("cuda with graphs: %v", o)
	}
	cache := filepath.Join(t.TempDir(), "engines")
	o, err := tensorrtOptions(Options{Precision: "f16", Batch: 64, GPU: GPU{Cache: cache}}, "pixel_values", 224)
	if err != nil || o["trt_fp16_enable"] != "1" || o["trt_engine_cache_path"] != cache || o["trt_profile_max_shapes"] != "pixel_values:64x3x224x224" || o["trt_profile_min_shapes"] != o["trt_profile_max_shapes"] {
		t.Errorf("tensorrt: %v, %v", o, err)
	}
	if g, err := tensorrtOptions(Options{Precision: "f16", GPU: GPU{Cache: cache, Graphs: true}}, "x", 32); err != nil || g["trt_cuda_graph_enable"] != "1" || o["trt_cuda_graph_enable"] != "" {
		t.Errorf("tensorrt with graphs: %v, %v", g, err)
	}
	if info, err := os.Stat(cache); err != nil || !info.IsDir() {
		t.Errorf("the folder for engines was not made: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tensorrtOptions(Options{GPU: GPU{Cache: filepath.Join(file, "sub")}}, "x", 32); err == nil || !strings.Contains(err.Error(), "--engine-cache") {
		t.Errorf("an impossible folder gives %v", err)
	}
}
