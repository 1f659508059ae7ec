package teacher

import (
	"fmt"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"mvptargets/internal/dynlib"
)

// Each build of onnxruntime carries its own libonnxruntime with its own providers, and a process can hold one of them.
// onnxruntime_go asks for API 24, so any release from 1.24 on will do.
const libraryRemedy = "run `make deps`, or point MVP_ONNXRUNTIME to a libonnxruntime.so of 1.24 or later"

// library describes where a build of onnxruntime is looked for, below .deps by the name of its wheel.
func library(wheels ...string) dynlib.Spec {
	spec := dynlib.Spec{
		Name:    "onnxruntime",
		Sonames: []string{"libonnxruntime.so.1", "libonnxruntime.so"},
		Env:     "MVP_ONNXRUNTIME",
		Remedy:  libraryRemedy,
	}
	for _, w := range wheels {
		spec.Globs = append(spec.Globs, w+"/libonnxruntime.so*")
	}
	return spec
}

var loaded struct {
	sync.Mutex
	path string
}

// load opens an onnxruntime for the rest of the process's life.
func load(spec dynlib.Spec) error {
	path, err := spec.Find()
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

// Libraries says which onnxruntime would be used, one line, for --version.
func Libraries() []string {
	path, err := library(openvinoWheel).Find()
	if err != nil {
		return []string{err.Error()}
	}
	return []string{"onnxruntime " + path}
}
