package student

import (
	"fmt"
	"io"
	"slices"

	"mvptargets/blas"
)

// tensorNames are safetensors' names of the master types.
var tensorNames = map[blas.DType]string{blas.F32: "F32", blas.F64: "F64"}

// Weights is the encoder: the tensors of timm's Beit, under its names, and nothing else. Its tensors are read from the device when the file
// is written.
func (m *Model) Weights() *TensorFile {
	return &TensorFile{Metadata: map[string]string{"format": "pt", "timm": m.timm()}, Tensors: m.params(false)}
}

// TrainingState is what training goes on from besides Weights, likewise: mask token and head, both moments of AdamW, each laid end to end
// as the parameters are, and the optimizer's counters.
func (m *Model) TrainingState() *TensorFile {
	f := &TensorFile{Tensors: m.params(true)}
	for _, s := range m.stateTensors() {
		f.Tensors = append(f.Tensors, m.onDevice(s.name, []int{s.tensor.Len()}, s.tensor))
	}
	return f
}

func (m *Model) params(training bool) (out []HostTensor) {
	for _, q := range m.Params.List {
		if q.Name != "" && q.Training() == training {
			out = append(out, m.onDevice(q.Name, q.Shape, m.Params.Value.Slice(q.at, q.at+q.Len())))
		}
	}
	return out
}

// SetWeights uploads the parameters of f, which must hold each of the model's in its shape and type, an encoder's but those of training;
// others in f are ignored.
func (m *Model) SetWeights(f *TensorFile) error {
	for _, q := range m.Params.List {
		if q.Name == "" || q.Training() && m.LossRows == 0 {
			continue
		}
		if err := m.upload(f, q.Name, q.Shape, m.Params.Value.Slice(q.at, q.at+q.Len())); err != nil {
			return err
		}
	}
	m.Refresh()
	return nil
}

// SetOptimizerState uploads the moments and counters of TrainingState.
func (m *Model) SetOptimizerState(f *TensorFile) error {
	for _, s := range m.stateTensors() {
		if err := m.upload(f, s.name, []int{s.tensor.Len()}, s.tensor); err != nil {
			return err
		}
	}
	return nil
}

type namedTensor struct {
	name   string
	tensor blas.Tensor
}

func (m *Model) stateTensors() []namedTensor {
	return []namedTensor{{"exp_avg", m.Params.M}, {"exp_avg_sq", m.Params.V}, {"counters", m.state}}
}

// copyElements is how many elements of a tensor are in host memory at a time while it is written to a file.
const copyElements = 16 << 10

// onDevice is a tensor of the device as a file takes it.
func (m *Model) onDevice(name string, shape []int, src blas.Tensor) HostTensor {
	return HostTensor{Name: name, DType: tensorNames[src.DType()], Shape: shape, copy: func(w io.Writer) error {
		flat := src.Flat()
		room := make([]byte, min(copyElements, flat.Len())*flat.DType().Size())
		for lo := 0; lo < flat.Len(); lo += copyElements {
			part := flat.Slice(lo, min(lo+copyElements, flat.Len()))
			if err := m.dev.Download(room[:part.Bytes()], part); err != nil {
				return fmt.Errorf("downloading %s: %w", name, err)
			}
			if _, err := w.Write(room[:part.Bytes()]); err != nil {
				return err
			}
		}
		return nil
	}}
}

func (m *Model) upload(f *TensorFile, name string, shape []int, dst blas.Tensor) error {
	t, ok := f.Find(name)
	if !ok {
		return fmt.Errorf("no tensor %s: the checkpoint is of another model", name)
	}
	if want := tensorNames[dst.DType()]; t.DType != want || !slices.Equal(t.Shape, shape) {
		return fmt.Errorf("tensor %s is %s%v, the model's is %s%v: the checkpoint is of another model", name, t.DType, t.Shape, want, shape)
	}
	m.dev.Upload(dst, t.Data)
	return nil
}
