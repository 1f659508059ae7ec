package teacher

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ort "github.com/yalue/onnxruntime_go"
	"golang.org/x/sys/cpu"

	"mvptargets/internal/dynlib"
)

// Precisions are the arithmetic precisions that --precision knows.
var Precisions = []string{"f32", "bf16", "f16"}

// Auto is the provider that stands for the best one that works.
const Auto = "auto"

const openvinoWheel = "onnxruntime-openvino"

// provider is one of onnxruntime's execution providers as we use it.
type provider struct {
	name       string
	library    dynlib.Spec
	precisions []string
	// asFile says that the provider computes in the type of the model's weights and converts none.
	asFile bool
	// add puts the provider into a session's options; nil for onnxruntime's own kernels.
	add func(o *ort.SessionOptions, m *Model, opt Options) error
	// memory opens the card's, for graphs; nil where there are none.
	memory func(GPU) (memory, error)
}

// providers are in auto's order: the fastest first.
var providers = []provider{
	{"tensorrt", library(gpuWheel, gpuRemedy), []string{"f16", "bf16"}, false, addTensorRT, cardMemory},
	{"cuda", library(gpuWheel, gpuRemedy), []string{"f32", "f16"}, true, addCUDA, cardMemory},
	{"openvino", library(openvinoWheel, libraryRemedy), []string{"f32", "bf16"}, false, addOpenVINO, nil},
	{"cpu", library(openvinoWheel, libraryRemedy), []string{"f32"}, false, nil, nil},
}

// Providers lists what --provider takes.
func Providers() []string {
	names := []string{Auto}
	for _, p := range providers {
		names = append(names, p.name)
	}
	return names
}

func providerNamed(name string) (provider, error) {
	i := slices.IndexFunc(providers, func(p provider) bool { return p.name == name })
	if i < 0 {
		return provider{}, fmt.Errorf("unknown provider %q; known are %s", name, strings.Join(Providers(), ", "))
	}
	return providers[i], nil
}

// supports says, in the error, why a provider cannot compute a model at a precision on this machine; half: its weights are float16.
func (p provider) supports(precision string, half bool) error {
	if !slices.Contains(p.precisions, precision) {
		return fmt.Errorf("provider %s computes in %s only, not %s", p.name, strings.Join(p.precisions, ", "), precision)
	}
	if p.asFile && half != (precision == "f16") {
		if half {
			return fmt.Errorf("provider %s computes a float16 model in f16 only; use --precision f16", p.name)
		}
		return fmt.Errorf("provider %s computes in f16 only what was exported in float16 (pipelines/clip/export_clip.py --half); use --precision f32", p.name)
	}
	if precision == "bf16" && p.library.Name == cpuLibrary && !cpu.X86.HasAVX512BF16 && !cpu.X86.HasAMXBF16 {
		return fmt.Errorf("this processor has no bf16 instructions (avx512_bf16 or amx_bf16); use --precision f32")
	}
	return nil
}

// addOpenVINO names the precision also where it is f32: left alone, OpenVINO computes in bf16 wherever it can.
func addOpenVINO(o *ort.SessionOptions, _ *Model, opt Options) error {
	config, err := json.Marshal(map[string]map[string]string{"CPU": {
		"INFERENCE_PRECISION_HINT": opt.Precision,
		"INFERENCE_NUM_THREADS":    strconv.Itoa(opt.Threads),
	}})
	if err != nil {
		return err
	}
	return o.AppendExecutionProviderOpenVINO(map[string]string{"device_type": "CPU", "load_config": string(config)})
}
