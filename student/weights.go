package student

import (
	"fmt"
	"slices"

	"mvptargets/blas"
)

// tensorNames are safetensors' names of the master types.
var tensorNames = map[blas.DType]string{blas.F32: "F32", blas.F64: "F64"}

// Weights downloads the encoder: the tensors of timm's Beit, under its names, and nothing else.
func (m *Model) Weights() (*TensorFile, error) {
	f := &TensorFile{Metadata: map[string]string{"format": "pt", "timm": m.timm()}}
	return f, m.downloadParams(f, false)
}

// TrainingState downloads what training goes on from besides Weights: mask token and head, both moments of AdamW, each laid end to end as
// the parameters are, and the optimizer's counters.
func (m *Model) TrainingState() (*TensorFile, error) {
	f := &TensorFile{}
	if err := m.downloadParams(f, true); err != nil {
		return nil, err
	}
	for _, s := range m.stateTensors() {
		if err := m.download(f, s.name, []int{s.tensor.Len()}, s.tensor); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (m *Model) downloadParams(f *TensorFile, training bool) error {
	for _, q := range m.Params.List {
		if q.Name == "" || q.Training() != training {
			continue
		}
		if err := m.download(f, q.Name, q.Shape, m.Params.Value.Slice(q.at, q.at+q.Len())); err != nil {
			return err
		}
	}
	return nil
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

func (m *Model) download(f *TensorFile, name string, shape []int, src blas.Tensor) error {
	data := make([]byte, src.Bytes())
	if err := m.dev.Download(data, src); err != nil {
		return fmt.Errorf("downloading %s: %w", name, err)
	}
	f.Tensors = append(f.Tensors, HostTensor{Name: name, DType: tensorNames[src.DType()], Shape: shape, Data: data})
	return nil
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
