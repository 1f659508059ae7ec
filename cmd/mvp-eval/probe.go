package main

import (
	"context"
	"errors"
	"io"
	"os"

	"mvptargets/blas"
	"mvptargets/internal/cli"
	"mvptargets/student"
	"mvptargets/student/probe"
)

const probeSynopsis = `--checkpoint RUN --train TREE --test TREE [flags]

Trains a linear classifier on a student's frozen features, [class token, mean of the patch tokens] of each layer, and tests it. The
student is a run's newest checkpoint, or the one whose folder is given. A TREE has a folder of images per class, the same classes
in both. Layer and regularization are chosen on a fifth of the training images; the test images choose nothing.`

func runProbe(ctx context.Context, args []string, out io.Writer) error {
	f := cli.Flags("mvp-eval probe", probeSynopsis)
	f.Libraries = libraries
	checkpoint := f.String("checkpoint", "", "the run, or one of its checkpoints, a `folder`")
	train := f.String("train", "", "labelled `images` to train and choose on")
	test := f.String("test", "", "labelled `images` to test on")
	untrained := f.Bool("untrained", false, "probe the weights that the run started from instead")
	layers := f.String("layers", "all", "`layers` to probe: all, or some of 1 (behind the first block), 2, ..., norm, as 2,3")
	file := f.String("out", "", "also write the result to this JSON `file`")
	seed := f.Uint64("seed", 0, "`number` that the held-out training images are drawn by")
	compute := newComputeFlags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, required := range []string{"checkpoint", "train", "test"} {
		if !f.IsSet(required) {
			return cli.Usagef("--%s is missing", required)
		}
	}
	if f.NArg() > 0 {
		return cli.Usagef("unexpected argument %q", f.Arg(0))
	}
	j := probe.Job{Untrained: *untrained, Seed: *seed, Log: f.Logger(), Terminal: os.Stderr}
	var err error
	if j.Checkpoint, err = student.OpenCheckpoint(*checkpoint); err != nil {
		return err
	}
	if j.Layers, err = probe.ParseLayers(*layers, j.Checkpoint.Recipe.Model.Depth); err != nil {
		return &cli.UsageError{Err: err}
	}
	if j.Train, err = probe.OpenSet(ctx, *train); err != nil {
		return err
	}
	if j.Test, err = probe.OpenSet(ctx, *test); err != nil {
		return err
	}
	var dev blas.Device
	if dev, j.DType, j.Batch, err = compute.open(j.Log); err != nil {
		return err
	}
	defer dev.Close()
	j.Log.Info("probe", "checkpoint", j.Checkpoint.Dir(), "step", j.Checkpoint.Step, "device", dev.Info().Name, "detail", dev.Info().Detail)
	result, err := probe.Run(ctx, dev, j)
	if err != nil {
		return err
	}
	err = result.Print(out) // first, since it took long
	if *file != "" {
		err = errors.Join(err, result.Write(*file))
	}
	return err
}
