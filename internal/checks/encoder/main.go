// encoder writes what checks/checkpoint_timm.py compares with timm: pixels and the features that a student's encoder makes of them.
//
// With --checkpoint it takes a run's newest checkpoint, or one. With --recipe it makes a student of the recipe, trains it by one step on
// made-up data, so that no parameter keeps its first value, and writes its model.safetensors too.
package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"mvptargets/blas"
	"mvptargets/blas/cpu"
	"mvptargets/internal/cli"
	"mvptargets/student"
)

func main() { cli.Main("encoder", run) }

const targetDim = 64 // of the student that --recipe makes

func run(_ context.Context, args []string) error {
	f := cli.Flags("encoder", "--checkpoint RUN | --recipe R.toml  --out FOLDER")
	checkpoint := f.String("checkpoint", "", "a run's or a checkpoint's `folder`")
	recipe := f.String("recipe", "", "a recipe, a TOML `file`")
	out := f.String("out", "", "`folder` that receives features.safetensors, and model.safetensors with --recipe")
	images := f.Int("images", 2, "`images` of random pixels")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.IsSet("checkpoint") == f.IsSet("recipe") || *out == "" || *images < 1 {
		return cli.Usagef("give --out and either --checkpoint or --recipe")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		return err
	}
	defer dev.Close()
	var m *student.Model
	if *recipe != "" {
		m, err = stepped(dev, *recipe, *images, filepath.Join(*out, "model.safetensors"))
	} else {
		m, err = loaded(dev, *checkpoint, *images)
	}
	if err != nil {
		return err
	}
	defer m.Close()
	return features(m, filepath.Join(*out, "features.safetensors"))
}

// loaded is the encoder of a checkpoint for n images.
func loaded(dev blas.Device, path string, n int) (*student.Model, error) {
	c, err := student.OpenCheckpoint(path)
	if err != nil {
		return nil, err
	}
	m := c.Recipe.Encoder(dev, blas.F32, n, c.TargetDim)
	return m, c.Load(m)
}

// stepped trains the recipe's student by a step on one made-up image, writes its weights, and is its encoder for n images.
func stepped(dev blas.Device, path string, n int, weights string) (*student.Model, error) {
	r, err := student.ReadRecipe(path, nil)
	if err != nil {
		return nil, err
	}
	m := student.NewModel(dev, r.Config(targetDim), student.Options{Compute: blas.F32, Batch: 1, LossRows: r.Mask.Count, Loss: student.Loss{Kind: "cosine"}}, 1)
	b := &student.Batch{N: 1, Pixels: pixels(m.Config, 1), Mask: make([]uint8, m.Patches())}
	r.Masking().Fill(b.Mask, 1, 0, 0)
	for i, masked := range b.Mask {
		if masked != 0 {
			b.MaskIdx = append(b.MaskIdx, int32(i))
			for k := range targetDim {
				b.Targets = append(b.Targets, uint16(0x3800+k*7+i%5)) // float16 of about a half
			}
		}
	}
	m.Refresh()
	m.Upload(b)
	m.BeginStep()
	m.MicroStep()
	m.EndStep(student.Optimizer{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}, 1e-2, 0.05)
	if result, err := m.Result(); err != nil || result.Applied != 1 {
		return nil, errors.Join(err, errors.New("the step was not applied"))
	}
	err = student.WriteTensors(weights, m.Weights())
	m.Close()
	if err != nil {
		return nil, err
	}
	encoder := r.Encoder(dev, blas.F32, n, targetDim)
	return encoder, encoder.Read(weights)
}

// pixels are n images of noise.
func pixels(c student.Config, n int) []uint8 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]uint8, n*c.ImageSize*c.ImageSize*3)
	for i := range out {
		out[i] = uint8(r.UintN(256))
	}
	return out
}

// features writes the pixels, the last block's output and its norm: [N, T, D], float32.
func features(m *student.Model, path string) error {
	b := &student.Batch{N: m.Batch, Pixels: pixels(m.Config, m.Batch)}
	m.Upload(b)
	m.Encode()
	f := &student.TensorFile{Tensors: []student.HostTensor{{Name: "pixels", DType: "U8", Shape: []int{m.Batch, m.ImageSize, m.ImageSize, 3}, Data: b.Pixels}}}
	for layer, name := range map[int]string{m.Depth - 1: "blocks", m.Depth: "norm"} {
		v, err := m.Features(layer)
		if err != nil {
			return err
		}
		f.Tensors = append(f.Tensors, student.HostTensor{Name: name, DType: "F32", Shape: []int{m.Batch, m.Tokens(), m.Width}, Data: blas.Encode(blas.F32, v)})
	}
	return student.WriteTensors(path, f)
}
