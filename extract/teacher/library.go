package teacher

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"mvptargets/internal/dynlib"
)

// Each build of onnxruntime carries its own libonnxruntime with its own providers, and a process can hold one of them.
// onnxruntime_go asks for API 24, so any release from 1.24 on will do.
const libraryRemedy = "run `make deps`, or point MVP_ONNXRUNTIME to a libonnxruntime.so of 1.24 or later"

// cpuLibrary and gpuLibraryName are what the builds are called in messages.
const cpuLibrary, gpuLibraryName = "onnxruntime", "onnxruntime for GPUs"

// library describes where a build of onnxruntime is looked for, below .deps by the name of its wheel.
func library(wheel, remedy string) dynlib.Spec {
	spec := dynlib.Spec{
		Name:    cpuLibrary,
		Sonames: []string{"libonnxruntime.so.1", "libonnxruntime.so"},
		Env:     "MVP_ONNXRUNTIME",
		Globs:   []string{wheel + "/libonnxruntime.so*"},
		Remedy:  remedy,
	}
	if wheel == gpuWheel {
		spec.Name = gpuLibraryName
	}
	return spec
}

// find looks for a build. One for GPUs has the provider beside it; without, the loader may have given the other build, which has the
// same name.
func find(spec dynlib.Spec) (string, error) {
	path, err := spec.Find()
	if err != nil || spec.Name != gpuLibraryName {
		return path, err
	}
	const provider = "libonnxruntime_providers_cuda.so"
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), provider)); err != nil {
		return "", fmt.Errorf("%s not found: %s has no %s beside it; %s", spec.Name, path, provider, spec.Remedy)
	}
	return path, nil
}

var loaded struct {
	sync.Mutex
	path string
}

// load opens an onnxruntime for the rest of the process's life.
func load(spec dynlib.Spec) error {
	path, err := find(spec)
	if err != nil {
		return err
	}
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.path != "" {
		if loaded.path != path {
			return fmt.Errorf("this process already runs onnxruntime from %s and cannot open %s as well; choose one --provider", loaded.path, path)
		}
		return nil
	}
	ort.SetSharedLibraryPath(path)
	// Errors come back as values; what the library would print itself stays off the user's terminal.
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		if strings.Contains(err.Error(), "ORT API base") {
			return fmt.Errorf("onnxruntime at %s is older than 1.24; %s", path, libraryRemedy)
		}
		return fmt.Errorf("open onnxruntime: %w; %s", err, libraryRemedy)
	}
	loaded.path = path
	return nil
}

// Libraries says which onnxruntime would be used, a line for each build, for --version. That for GPUs is named only where it is.
func Libraries() []string {
	lines := []string{}
	for _, spec := range []dynlib.Spec{library(openvinoWheel, libraryRemedy), library(gpuWheel, gpuRemedy)} {
		path, err := find(spec)
		switch {
		case err == nil && (len(lines) == 0 || !strings.HasSuffix(lines[0], " "+path)):
			lines = append(lines, spec.Name+" "+path)
		case err != nil && spec.Name == cpuLibrary:
			lines = append(lines, err.Error())
		}
	}
	return lines
}
