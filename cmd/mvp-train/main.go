// mvp-train trains a ViT student against a target store.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"mvptargets/blas/cpu"
	"mvptargets/blas/devices"
	"mvptargets/internal/cli"
	"mvptargets/shards/view"
	"mvptargets/student"
)

const synopsis = `--recipe R.toml --targets STORE --images SRC --out RUN [flags]
       mvp-train devices

Trains a student on stored targets. The student's pixels are rendered from the images again, view by view as the teacher saw them.
RUN receives recipe.toml, metrics.jsonl, TensorBoard events and checkpoints. A recipe without train.micro_batch gets one that suits the device.

Environment: MVP_CPU (portable, avx2, avx512, avx512bf16) and MVP_GEMM (own, onednn) override what the processor device chooses; docs/cpu.md.`

func main() { cli.Main("mvp-train", run) }

// settings collects --set key=value.
type settings []string

func (s *settings) String() string     { return "" }
func (s *settings) Set(v string) error { *s = append(*s, v); return nil }

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "devices" {
		return listDevices(args[1:])
	}
	f := cli.Flags("mvp-train", synopsis)
	f.Libraries = libraries
	recipe := f.String("recipe", "", "the recipe, a TOML `file`")
	var set settings
	f.Var(&set, "set", "override a recipe's `key=value`; may be given again")
	dtype := f.String("dtype", "", "arithmetic, `f32|bf16`: short for --set train.dtype=...; without it the recipe's")
	j := student.Job{Terminal: os.Stderr}
	f.StringVar(&j.Targets, "targets", "", "the target store, a `folder`")
	f.StringVar(&j.Images, "images", "", "the `source` of images that the store was made from")
	f.StringVar(&j.Run, "out", "", "the run's `folder`")
	f.BoolVar(&j.Resume, "resume", false, "continue from the run's newest checkpoint; where there is none, start")
	j.SaveEvery = student.SaveEvery{Time: 15 * time.Minute}
	f.Var(&j.SaveEvery, "save-every", "write a checkpoint after so many steps or so much `time`, such as 500 or 15m")
	f.IntVar(&j.Keep, "keep", 2, "`checkpoints` that stay, the newest")
	f.IntVar(&j.Milestones, "milestones", 0, "keep a checkpoint of every so many `epochs` besides; 0: none")
	device := f.Enum("device", "auto", devices.Names, devices.About)
	steps := f.Int("profile", 0, "measure so many `steps`, print a table per operation, and write nothing")
	threads := f.Int("threads", 0, "`threads` of the device; 0: one per core")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, required := range []string{"recipe", "targets", "images", "out"} {
		if !f.IsSet(required) && !(required == "out" && *steps > 0) {
			return cli.Usagef("--%s is missing", required)
		}
	}
	if j.Keep < 1 || j.Milestones < 0 || *threads < 0 || *steps < 0 {
		return cli.Usagef("--keep must be at least 1, --milestones, --threads and --profile not negative")
	}
	if f.NArg() > 0 {
		return cli.Usagef("unexpected argument %q", f.Arg(0))
	}
	if *dtype != "" {
		set = append(set, "train.dtype="+*dtype)
	}
	var err error
	if j.Recipe, err = student.ReadRecipe(*recipe, set); err != nil {
		return err
	}
	j.Log = f.Logger()
	dev, err := devices.Open(*device, *threads, j.Log)
	if err != nil {
		return err
	}
	defer dev.Close()
	j.Log.Info("device", "name", dev.Info().Name, "detail", dev.Info().Detail)
	if *steps > 0 {
		return student.Profile(ctx, dev, j, *steps, os.Stdout)
	}
	sum, err := student.Train(ctx, dev, j)
	if err != nil {
		return err
	}
	if sum.ImagesSec == 0 {
		fmt.Printf("nothing to do: all %d steps are done; checkpoint %s\n", sum.Steps, sum.Checkpoint)
		return nil
	}
	fmt.Printf("trained %d steps, %.4g images/s, %.1f %% of the time waiting for data, last loss %.4f; checkpoint %s\n",
		sum.Steps, sum.ImagesSec, 100*sum.Waited, sum.Loss, sum.Checkpoint)
	return nil
}

func libraries() []string {
	lines := []string{view.Library()}
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		return append(lines, "cpu: "+err.Error())
	}
	defer dev.Close()
	return append(lines, "cpu: "+dev.Info().Detail)
}
