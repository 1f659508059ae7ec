package main

import (
	"fmt"

	"mvptargets/blas/cpu"
	"mvptargets/blas/cuda"
	"mvptargets/internal/cli"
)

// listDevices lists what --device can be on this machine.
func listDevices(args []string) error {
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
