// mvp-extract runs a teacher once over a set of images and writes one feature vector per patch into a target store.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"mvptargets/extract"
	"mvptargets/extract/teacher"
	"mvptargets/internal/cli"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

func main() {
	teacher.ProbeChild()
	cli.Main("mvp-extract", func(ctx context.Context, args []string) error {
		if len(args) > 0 && args[0] == "inspect" {
			return inspect(args[1:])
		}
		return run(ctx, args)
	})
}

const synopsis = `--model clip.onnx --images SRC --out STORE [flags]
       mvp-extract inspect --model clip.onnx

Runs a CLIP vision tower once over a set of images and writes one feature vector per patch into the target store.
SRC is a folder of images, a folder with a folder of images per class, a text file with a path per line and, after a tab, a
label, or the .tar files of a WebDataset: one, or a pattern in quotes such as 'train-{000..127}.tar' or 'train-*.tar'. What the
store has already is not computed again; any number of workers may share it, each with its --part.`

func run(ctx context.Context, args []string) error {
	f := cli.Flags("mvp-extract", synopsis)
	f.Libraries = libraries
	c := extract.Config{Terminal: os.Stderr}
	f.StringVar(&c.Model, "model", "", "the teacher, an ONNX `file`")
	set := preprocessing(f)
	f.StringVar(&c.Images, "images", "", "the `source` of images")
	f.StringVar(&c.Store, "out", "", "the target store, a `folder`; created if absent")
	f.StringVar(&c.Features, "features", teacher.Projected, "`what` to store per patch: projected, normed, hidden or an output's name; see inspect")
	f.IntVar(&c.Views, "views", 1, "views per image, a `number`")
	kind := f.Enum("view", view.Center, []string{view.Center, view.RRC}, "how views are made: the middle, or random resized crops")
	minScale := f.Float64("min-scale", 0.2, "least `share` of the image's area in a random crop")
	jitter := f.String("jitter", "", "colour jitter of random crops: `B,C,S,H`, how far brightness, contrast, saturation and hue may go, or one number for the first three")
	seed := f.Uint64("seed", 0, "`number` that random crops are drawn by")
	provider := f.Enum("provider", teacher.Auto, teacher.Providers(), "what runs the teacher")
	encoding := f.Enum("encoding", shards.EncodingF16, shards.Encodings(), "how features are stored: float16, or int8 with a scale per patch, half as large")
	precision := f.Enum("precision", "f32", teacher.Precisions, "arithmetic of the teacher")
	f.IntVar(&c.GPU.Device, "gpu-device", 0, "`number` of the card, for cuda and tensorrt")
	f.IntVar(&c.GPU.MemoryMiB, "gpu-memory", 0, "`MiB` of the card's memory that cuda and tensorrt may use; 0: no bound")
	f.BoolVar(&c.GPU.Graphs, "gpu-graphs", false, "record the teacher's run as a CUDA graph and replay it, for cuda and tensorrt")
	f.StringVar(&c.GPU.Cache, "engine-cache", "", "`folder` that tensorrt keeps its compiled engines in; without it the user's cache folder")
	f.IntVar(&c.Batch, "batch", 8, "`images` per call of the teacher")
	f.IntVar(&c.Threads, "threads", 0, "`threads` of the teacher; 0: one per core")
	f.IntVar(&c.Loaders, "loaders", 0, "`threads` that read and decode images; 0: one per core")
	part := f.String("part", "", "do only part `i/n` of the images, i from 0; auto/n: i of a Slurm array or an Indexed Job; without it: the task's place in a Slurm array, else all")
	f.Int64Var(&c.ShardBytes, "shard-bytes", 256<<20, "`size` that a shard is published at: a killed worker loses at most this much")
	f.BoolVar(&c.Rehash, "rehash", false, "read every file, instead of trusting its name, size and time, to find out what the store has")
	f.Float64Var(&c.MaxRejectFraction, "max-reject-fraction", 0.01, "`share` of images that may be unusable before the exit status is 1")
	plan := f.Bool("plan", false, "say what there is to do, how large the store will be and how long it takes, and stop")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, required := range []string{"model", "images", "out"} {
		if !f.IsSet(required) {
			return cli.Usagef("--%s is missing", required)
		}
	}
	if f.NArg() > 0 {
		return cli.Usagef("unexpected argument %q; images are given with --images, a pattern of them in quotes", f.Arg(0))
	}
	c.Provider, c.Precision, c.Encoding, c.Log = *provider, *precision, *encoding, f.Logger()
	var err error
	if c.Set, err = set(); err != nil {
		return err
	}
	if *kind != view.Center && c.Set.Resize != "" {
		return cli.Usagef("--resize is for --view center")
	}
	if c.Part, err = partOf(*part, os.Getenv); err != nil {
		return cli.Usagef("--part: %w", err)
	}
	if c.Policy, err = policy(f, *kind, *minScale, *jitter, *seed); err != nil {
		return err
	}
	if err := check(c); err != nil {
		return err
	}
	if *plan {
		p, err := extract.MakePlan(ctx, c)
		if err == nil {
			fmt.Print(p)
		}
		return err
	}
	sum, err := extract.Run(ctx, c)
	if err == nil || sum.Views+sum.Reused+sum.Rejected > 0 { // not where nothing was begun
		fmt.Println(sum)
	}
	return err
}

// preprocessing adds the flags that go before preprocessor_config.json, and gives what reads them after Parse.
func preprocessing(f *cli.FlagSet) func() (teacher.Settings, error) {
	size := f.Int("size", 0, "side of the teacher's input in `pixels`, where its graph leaves that open")
	mean := f.String("mean", "", "mean of the pixels, `R,G,B` of 0..1; without it that of preprocessor_config.json beside the model, or CLIP's")
	std := f.String("std", "", "standard deviation of the pixels, `R,G,B`; as --mean")
	resize := f.String("resize", "", "`stretch|N`: how --view center resizes: the whole image to a square, or the short side to N pixels before the middle is cut out")
	return func() (teacher.Settings, error) {
		s := teacher.Settings{Size: *size, Resize: *resize}
		if *size < 0 {
			return s, cli.Usagef("--size %d is negative", *size)
		}
		if n, err := strconv.Atoi(*resize); *resize != "" && *resize != teacher.Stretch && (err != nil || n < 1) {
			return s, cli.Usagef("--resize %s is neither %s nor a number of pixels", *resize, teacher.Stretch)
		}
		var err error
		if s.Mean, err = triple("mean", *mean, -1e6); err != nil {
			return s, err
		}
		s.Std, err = triple("std", *std, 0)
		return s, err
	}
}

// triple reads three numbers above least; nil for "".
func triple(flag, text string, least float64) (*[3]float32, error) {
	if text == "" {
		return nil, nil
	}
	var three [3]float32
	parts := strings.Split(text, ",")
	for i, part := range parts {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 32)
		if err != nil || len(parts) != 3 || !(v > least && v < 1e6) {
			return nil, cli.Usagef("--%s %s is not three numbers R,G,B, such as 0.5,0.5,0.5", flag, text)
		}
		three[i] = float32(v)
	}
	return &three, nil
}

// policy builds the view policy. Flags that a policy has no use for are refused, not ignored.
func policy(f *cli.FlagSet, kind string, minScale float64, jitter string, seed uint64) (view.Policy, error) {
	if kind == view.Center {
		for _, name := range []string{"min-scale", "jitter", "seed"} {
			if f.IsSet(name) {
				return view.Policy{}, cli.Usagef("--%s is for --view rrc", name)
			}
		}
		return view.NewCenter(), nil
	}
	p := view.NewRRC(minScale, seed)
	if jitter != "" {
		r, err := parseJitter(jitter)
		if err != nil {
			return p, err
		}
		p = p.WithJitter(r[0], r[1], r[2], r[3])
	}
	if err := p.Validate(); err != nil {
		return p, &cli.UsageError{Err: err}
	}
	return p, nil
}

// parseJitter reads brightness, contrast, saturation and hue; one number stands for the first three, as in timm and BEiT.
func parseJitter(text string) (ranges [4]float64, err error) {
	words := strings.Split(text, ",")
	if len(words) == 1 {
		words = []string{text, text, text, "0"}
	}
	if len(words) != len(ranges) {
		return ranges, cli.Usagef("--jitter %s has %d numbers, want 4 or 1", text, len(words))
	}
	for i, w := range words {
		if ranges[i], err = strconv.ParseFloat(strings.TrimSpace(w), 64); err != nil {
			return ranges, cli.Usagef("--jitter %s: %q is no number", text, w)
		}
	}
	return ranges, nil
}

func check(c extract.Config) error {
	const maxBatch, maxViews = 4096, 1 << 16
	switch {
	case c.Batch < 1 || c.Batch > maxBatch:
		return cli.Usagef("--batch %d is not within 1..%d", c.Batch, maxBatch)
	case c.Views < 1 || c.Views > maxViews:
		return cli.Usagef("--views %d is not within 1..%d", c.Views, maxViews)
	case c.Views > 1 && c.Policy.Name == view.Center:
		return cli.Usagef("--views %d of --view center would all be the same; use --view rrc", c.Views)
	case c.ShardBytes < 1:
		return cli.Usagef("--shard-bytes %d is not positive", c.ShardBytes)
	case c.GPU.Device < 0 || c.GPU.MemoryMiB < 0 || c.GPU.MemoryMiB > 1<<24:
		return cli.Usagef("--gpu-device %d and --gpu-memory %d must not be negative, nor absurd", c.GPU.Device, c.GPU.MemoryMiB)
	case c.Threads < 0 || c.Loaders < 0:
		return cli.Usagef("--threads and --loaders must not be negative")
	case !(c.MaxRejectFraction >= 0 && c.MaxRejectFraction <= 1):
		return cli.Usagef("--max-reject-fraction %g is not within 0..1", c.MaxRejectFraction)
	}
	return nil
}

func inspect(args []string) error {
	f := cli.Flags("mvp-extract inspect", "--model clip.onnx\nPrints a model's inputs and outputs, and what --features can give of it.")
	f.Libraries = libraries
	model := f.String("model", "", "the teacher, an ONNX `file`")
	set := preprocessing(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	if *model == "" && f.NArg() == 1 {
		*model = f.Arg(0)
	} else if f.NArg() > 0 {
		return cli.Usagef("unexpected argument %q", f.Arg(0))
	}
	if *model == "" {
		return cli.Usagef("--model is missing")
	}
	settings, err := set()
	if err != nil {
		return err
	}
	m, err := teacher.Read(*model, settings)
	if err != nil {
		return err
	}
	defer m.Close()
	m.Inspect(os.Stdout)
	return nil
}

func libraries() []string {
	return append(teacher.Libraries(), view.Library())
}
