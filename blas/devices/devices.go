// Package devices opens the device that a program is told to compute on.
package devices

import (
	"log/slog"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/blas/cuda"
	"mvptargets/blas/ref"
)

// Names are what --device may be.
var Names = []string{"auto", "cpu", "cuda", "ref"}

// About describes it.
const About = "what computes; auto is cuda where there is a GPU for it, else cpu"

// Open starts the device of that name; threads are the processor's. auto takes a GPU where one can be used; one that is there and cannot is
// worth a warning.
func Open(name string, threads int, log *slog.Logger) (blas.Device, error) {
	switch name {
	case "ref":
		return ref.New(), nil
	case "cuda":
		return cuda.New()
	case "auto":
		if gpus, _, err := cuda.List(); err == nil && len(gpus) > 0 {
			dev, err := cuda.New()
			if err == nil {
				return dev, nil
			}
			log.Warn("the GPU cannot be used, the processor is", "gpu", gpus[0].String(), "reason", err)
		}
	}
	return cpu.New(cpu.Options{Threads: threads})
}
