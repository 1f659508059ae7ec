// mvp-train trains a ViT student against a target store.
package main

import (
	"context"
	"fmt"
	"os"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/blas/ref"
	"mvptargets/internal/cli"
	"mvptargets/student"
)

const synopsis = `--recipe R.toml --targets STORE --images SRC --out RUN [flags]

Trains a student on stored targets. The student's pixels are rendered from the images again, view by view as the teacher saw them.
RUN receives recipe.toml, metrics.jsonl, TensorBoard events and checkpoints.`

func main() { cli.Main("mvp-train", run) }

// settings collects --set key=value.
type settings []string

func (s *settings) String() string     { return "" }
func (s *settings) Set(v string) error { *s = append(*s, v); return nil }

func run(ctx context.Context, args []string) error {
	f := cli.Flags("mvp-train", synopsis)
	recipe := f.String("recipe", "", "the recipe, a TOML `file`")
	var set settings
	f.Var(&set, "set", "override a recipe's `key=value`; may be given again")
	j := student.Job{Terminal: os.Stderr}
	f.StringVar(&j.Targets, "targets", "", "the target store, a `folder`")
	f.StringVar(&j.Images, "images", "", "the `source` of images that the store was made from")
	f.StringVar(&j.Run, "out", "", "the run's `folder`")
	f.BoolVar(&j.Resume, "resume", false, "continue from the newest checkpoint, if there is one")
	device := f.Enum("device", "auto", []string{"auto", "cpu", "ref"}, "what computes; auto is cpu")
	threads := f.Int("threads", 0, "`threads` of the device; 0: one per core")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, required := range []string{"recipe", "targets", "images", "out"} {
		if !f.IsSet(required) {
			return cli.Usagef("--%s is missing", required)
		}
	}
	if f.NArg() > 0 {
		return cli.Usagef("unexpected argument %q", f.Arg(0))
	}
	var err error
	if j.Recipe, err = student.ReadRecipe(*recipe, set); err != nil {
		return err
	}
	j.Log = f.Logger()
	dev, err := open(*device, *threads)
	if err != nil {
		return err
	}
	defer dev.Close()
	j.Log.Info("device", "name", dev.Info().Name, "detail", dev.Info().Detail)
	if err := student.Train(ctx, dev, j); err != nil {
		return err
	}
	fmt.Println("trained; checkpoints and metrics are in", j.Run)
	return nil
}

func open(device string, threads int) (blas.Device, error) {
	if device == "ref" {
		return ref.New(), nil
	}
	return cpu.New(cpu.Options{Threads: threads})
}
