// mvp-eval measures what a student has learned.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"mvptargets/blas"
	"mvptargets/blas/devices"
	"mvptargets/internal/cli"
	"mvptargets/shards/view"
)

func main() {
	cli.Main("mvp-eval", func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout) })
}

func run(ctx context.Context, args []string, out io.Writer) error {
	return cli.Dispatch(ctx, "mvp-eval", "Measures what a student has learned.", libraries, args, []cli.Command{
		{Name: "probe", Summary: "a linear classifier on frozen features, layer by layer", Run: func(ctx context.Context, args []string) error { return runProbe(ctx, args, out) }},
		{Name: "report", Summary: "a run's page: its loss, its probe, its features in pictures", Run: func(ctx context.Context, args []string) error { return runReport(ctx, args, out) }},
	})
}

func libraries() []string { return []string{view.Library()} }

// computeFlags are the flags of whatever runs a student.
type computeFlags struct {
	device, dtype  *string
	threads, batch *int
}

func newComputeFlags(f *cli.FlagSet) computeFlags {
	return computeFlags{
		device:  f.Enum("device", "auto", devices.Names, devices.About),
		dtype:   f.Enum("dtype", "f32", []string{"f32", "bf16"}, "arithmetic of the encoder"),
		threads: f.Int("threads", 0, "`threads` of the device; 0: one per core"),
		batch:   f.Int("batch", 0, "`images` per micro-batch; 0: as many as suit the device"),
	}
}

// open gives the device, the type to compute in and the images per micro-batch.
func (c computeFlags) open(log *slog.Logger) (dev blas.Device, dtype blas.DType, batch int, err error) {
	const maxBatch = 4096
	if *c.batch < 0 || *c.batch > maxBatch {
		return nil, 0, 0, cli.Usagef("--batch %d is not within 0..%d", *c.batch, maxBatch)
	}
	if dtype, err = blas.ParseDType(*c.dtype); err != nil {
		return nil, 0, 0, err
	}
	if dev, err = openDevice(*c.device, *c.threads, log); err != nil {
		return nil, 0, 0, err
	}
	if batch = *c.batch; batch == 0 {
		batch = dev.Info().Samples
	}
	return dev, dtype, batch, nil
}

// openDevice opens a device by its flag's word.
func openDevice(name string, threads int, log *slog.Logger) (blas.Device, error) {
	if threads < 0 {
		return nil, cli.Usagef("--threads %d is negative", threads)
	}
	return devices.Open(name, threads, log)
}
