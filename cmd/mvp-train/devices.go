package main

import (
	"fmt"
	"log/slog"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/blas/cuda"
	"mvptargets/blas/ref"
	"mvptargets/internal/cli"
)

// open starts the device that was asked for. auto takes a GPU where one can be used; one that is there and cannot is worth a warning.
func open(device string, threads int, log *slog.Logger) (blas.Device, error) {
	switch device {
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

// devices lists what --device can be on this machine.
func devices(args []string) error {
	f := cli.Flags("mvp-train devices", "\nLists the processor and the GPUs that can train, with their libraries, and says what is missing.")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return cli.Usagef("unexpected argument %q", f.Arg(0))
	}
	if dev, err := cpu.New(cpu.Options{}); err != nil {
		fmt.Println("cpu   ", err)
	} else {
		fmt.Printf("cpu    %d threads, %s\n", dev.Info().Threads, dev.Info().Detail)
		dev.Close()
	}
	gpus, driver, err := cuda.List()
	if err != nil {
		fmt.Println("cuda   none:", err)
		return nil
	}
	for _, g := range gpus {
		fmt.Printf("cuda   %d: %s\n", g.Ordinal, g)
	}
	for _, line := range append([]string{driver}, cuda.Libraries()...) {
		fmt.Println("      ", line)
	}
	return nil
}
