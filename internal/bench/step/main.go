// step times the student's training step on a device: images/s, and where the time goes is left to a profiler.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/blas/cuda"
	"mvptargets/internal/cli"
	"mvptargets/internal/half"
	"mvptargets/student"
)

func main() { cli.Main("bench-step", run) }

func run(ctx context.Context, args []string) error {
	f := cli.Flags("bench-step", "[flags]\nTimes forward, backward and update of a ViT-B/16 student on made-up images.")
	dtype := f.Enum("dtype", "bf16", []string{"f32", "bf16"}, "compute type")
	batch := f.Int("batch", 32, "`images` in a step")
	micro := f.Int("micro", 8, "`images` in a micro-batch, divides --batch")
	steps := f.Int("steps", 4, "timed steps, a `number`")
	depth := f.Int("depth", 12, "blocks, a `number`")
	device := f.Enum("device", "cpu", []string{"cpu", "cuda"}, "what computes")
	threads := f.Int("threads", 0, "`threads`; 0: one per core")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *micro < 1 || *batch%*micro != 0 || *steps < 1 {
		return cli.Usagef("--micro must divide --batch, and --steps be positive")
	}
	compute, err := blas.ParseDType(*dtype)
	if err != nil {
		return err
	}
	var dev blas.Device
	warm := 1
	if *device == "cuda" {
		warm = 3 // the second step captures its graphs
		dev, err = cuda.New()
	} else {
		dev, err = cpu.New(cpu.Options{Threads: *threads})
	}
	if err != nil {
		return err
	}
	defer dev.Close()
	fmt.Fprintln(os.Stderr, dev.Info().Detail)
	config := student.Config{ImageSize: 224, PatchSize: 16, Width: 768, Depth: *depth, Heads: 12, MLPRatio: 4, LayerScale: 0.1, RelPos: true, TargetDim: 512}
	m := student.NewModel(dev, config, student.Options{Compute: compute, Batch: *micro, LossRows: 75, Loss: student.Loss{Kind: "cosine"}, MicroN: *batch / *micro}, 1)
	defer m.Close()
	b := madeUp(*micro, config)
	m.Refresh()
	var took []float64
	for step := range *steps + warm {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		start := time.Now()
		m.BeginStep()
		for range *batch / *micro {
			m.Upload(b)
			m.MicroStep()
		}
		m.EndStep(student.Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: 3}, 1.5e-3, 0.05)
		r, err := m.Result()
		if err != nil {
			return err
		}
		if step >= warm {
			took = append(took, time.Since(start).Seconds())
		}
		fmt.Fprintf(os.Stderr, "step %d: %.2f s, loss %.4f\n", step, time.Since(start).Seconds(), r.Loss)
	}
	slices.Sort(took)
	median := took[len(took)/2]
	fmt.Printf("{\"program\": \"student step\", \"device\": %q, \"dtype\": %q, \"batch\": %d, \"micro\": %d, \"depth\": %d, \"seconds\": %.4f, \"images_per_s\": %.3f}\n",
		*device, *dtype, *batch, *micro, *depth, median, float64(*batch)/median)
	return nil
}

// madeUp is a micro-batch of random pixels, masks and targets.
func madeUp(n int, c student.Config) *student.Batch {
	r := rand.New(rand.NewPCG(1, 1))
	b := &student.Batch{N: n, Pixels: make([]uint8, n*c.ImageSize*c.ImageSize*3), Mask: make([]uint8, n*c.Patches())}
	for i := range b.Pixels {
		b.Pixels[i] = uint8(r.UintN(256))
	}
	for i := range n {
		for _, p := range r.Perm(c.Patches())[:75] {
			b.Mask[i*c.Patches()+p] = 1
		}
	}
	for i, v := range b.Mask {
		if v != 0 {
			b.MaskIdx = append(b.MaskIdx, int32(i))
			for range c.TargetDim {
				b.Targets = append(b.Targets, half.F16(float32(r.NormFloat64())))
			}
		}
	}
	return b
}
