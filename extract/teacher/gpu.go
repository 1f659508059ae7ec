package teacher

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	ort "github.com/yalue/onnxruntime_go"

	"mvptargets/internal/dynlib"
)

// GPU says how the providers cuda and tensorrt use a card. The others do not look at it.
type GPU struct {
	Device    int    // number of the card
	MemoryMiB int    // bound on what onnxruntime takes of its memory, 0: none
	Graphs    bool   // record the model's run as a CUDA graph, and replay it
	Cache     string // folder of TensorRT's compiled engines, "": the user's cache folder
}

const (
	gpuWheel    = "onnxruntime-gpu"
	gpuRemedy   = "run `make deps-gpu`"
	trtRemedy   = "install NVIDIA's TensorRT 10 for CUDA 13 and put its libraries where the system's loader looks, or into .deps/tensorrt"
	driverHelp  = "this machine has no NVIDIA driver (580 or later is needed for CUDA 13)"
	cacheFolder = "mvp-extract/tensorrt"
)

// driver is NVIDIA's, which comes with the card and not from a wheel.
var driver = dynlib.Spec{Name: "libcuda", Sonames: []string{"libcuda.so.1"}, Env: "MVP_CUDA", Remedy: driverHelp}

// cudaLibraries are what the CUDA provider is linked with, each before those that need it. The system's loader does not know .deps, but
// takes a library by the name that one already open has.
var cudaLibraries = []dynlib.Spec{
	gpuLibrary("the CUDA runtime", "libcudart.so.13", "cuda-cudart", gpuRemedy),
	gpuLibrary("NVRTC", "libnvrtc.so.13", "cuda-nvrtc", gpuRemedy),
	gpuLibrary("cuBLASLt", "libcublasLt.so.13", "cuda-cublas", gpuRemedy),
	gpuLibrary("cuBLAS", "libcublas.so.13", "cuda-blas", gpuRemedy),
	gpuLibrary("cuRAND", "libcurand.so.10", "cuda-curand", gpuRemedy),
	gpuLibrary("cuDNN", "libcudnn.so.9", "cuda-cudnn", gpuRemedy),
}

var tensorrtLibraries = append(cudaLibraries[:len(cudaLibraries):len(cudaLibraries)],
	gpuLibrary("TensorRT", "libnvinfer.so.10", "tensorrt", trtRemedy),
	gpuLibrary("TensorRT's ONNX parser", "libnvonnxparser.so.10", "tensorrt", trtRemedy),
)

func gpuLibrary(name, soname, folder, remedy string) dynlib.Spec {
	return dynlib.Spec{Name: name, Sonames: []string{soname}, Globs: []string{folder + "/lib/" + soname, folder + "/" + soname}, Remedy: remedy}
}

// openAll opens the driver and then the libraries. The first that is missing makes the error.
func openAll(libraries []dynlib.Spec) error {
	for _, spec := range libraries {
		if _, err := spec.Open(); err != nil {
			return err
		}
	}
	if _, err := driver.Open(); err != nil {
		return fmt.Errorf("%s", driverHelp)
	}
	return nil
}

// cudaOptions are the CUDA provider's. TF32 would make f32 a name for 10 bits; the search for convolution algorithms by timing
// would make the choice, and with it the last bits, depend on the moment.
func cudaOptions(g GPU) map[string]string {
	o := map[string]string{
		"device_id":              strconv.Itoa(g.Device),
		"use_tf32":               "0",
		"cudnn_conv_algo_search": "HEURISTIC",
	}
	if g.MemoryMiB > 0 {
		o["gpu_mem_limit"] = strconv.Itoa(g.MemoryMiB << 20)
		o["arena_extend_strategy"] = "kSameAsRequested"
	}
	if g.Graphs {
		o["enable_cuda_graph"] = "1"
	}
	return o
}

// tensorrtOptions are the TensorRT provider's: one engine, for the one shape that batches have, kept on disk.
func tensorrtOptions(o Options, input string, side int) (map[string]string, error) {
	cache := o.GPU.Cache
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no folder for TensorRT's engines: %w; give --engine-cache", err)
		}
		cache = filepath.Join(user, cacheFolder)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("folder for TensorRT's engines: %w; give another --engine-cache", err)
	}
	shape := fmt.Sprintf("%s:%dx3x%dx%d", input, o.Batch, side, side)
	t := map[string]string{
		"device_id":                    strconv.Itoa(o.GPU.Device),
		"trt_engine_cache_enable":      "1",
		"trt_engine_cache_path":        cache,
		"trt_timing_cache_enable":      "1",
		"trt_timing_cache_path":        cache,
		"trt_profile_min_shapes":       shape,
		"trt_profile_opt_shapes":       shape,
		"trt_profile_max_shapes":       shape,
		"trt_layer_norm_fp32_fallback": "1",
	}
	switch o.Precision {
	case "f16":
		t["trt_fp16_enable"] = "1"
	case "bf16":
		t["trt_bf16_enable"] = "1"
	}
	if o.GPU.Graphs {
		t["trt_cuda_graph_enable"] = "1"
	}
	if o.GPU.MemoryMiB > 0 {
		t["trt_max_workspace_size"] = strconv.Itoa(o.GPU.MemoryMiB << 20)
	}
	return t, nil
}

func cardMemory(g GPU) (memory, error) { return openCard(g.Device) }

func addCUDA(o *ort.SessionOptions, m *Model, opt Options) error {
	if err := openAll(cudaLibraries); err != nil {
		return err
	}
	return appendCUDA(o, opt.GPU)
}

func appendCUDA(o *ort.SessionOptions, g GPU) error {
	c, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer c.Destroy()
	if err := c.Update(cudaOptions(g)); err != nil {
		return err
	}
	return o.AppendExecutionProviderCUDA(c)
}

// addTensorRT puts TensorRT before CUDA, which takes what TensorRT does not know.
func addTensorRT(o *ort.SessionOptions, m *Model, opt Options) error {
	if err := openAll(tensorrtLibraries); err != nil {
		return err
	}
	settings, err := tensorrtOptions(opt, m.Input.Name, m.Size)
	if err != nil {
		return err
	}
	t, err := ort.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer t.Destroy()
	if err := t.Update(settings); err != nil {
		return err
	}
	if err := o.AppendExecutionProviderTensorRT(t); err != nil {
		return err
	}
	g := opt.GPU
	g.Graphs = false // TensorRT records
	return appendCUDA(o, g)
}
