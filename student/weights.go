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
	return &TensorFile{Metadata: map[string]string{"format": "pt", "timm": m.timm()}, Tensors: m.onDevice(m.parameters(false))}
}

// TrainingState is what training goes on from besides Weights, likewise: mask token and head, both moments of AdamW, each laid end to end
// as the parameters are, and the optimizer's counters.
func (m *Model) TrainingState() *TensorFile {
	return &TensorFile{Tensors: m.onDevice(m.trainingState())}
}

// Read puts what is in the files of Weights and, unless m is an encoder alone, TrainingState into m, and refreshes it. The files must hold
// all of it in m's shapes and types; other tensors in them are passed over.
func (m *Model) Read(paths ...string) error {
	var files []digested
	for _, path := range paths {
		files = append(files, digested{path: path})
	}
	return m.read(files)
}

// digested is a file with its SHA-256 in hexadecimal, "" where that is not known.
type digested struct{ path, sha256 string }

// scan is scanTensorFile of a file whose digest must be the one that is known.
func (f digested) scan(each func(t *HostTensor, data *io.LimitedReader) error) (*TensorFile, error) {
	t, digest, err := scanTensorFile(f.path, each)
	if err == nil && f.sha256 != "" && digest != f.sha256 {
		err = fmt.Errorf("%s is damaged: its bytes are not those that were written (SHA-256 differs)", f.path)
	}
	return t, err
}

// read is Read. The files are read twice, so that nothing is uploaded of files one of which is damaged or of another model, and nothing
// stays but what the digests were of; in host memory is copyElements of a tensor at a time.
func (m *Model) read(files []digested) error {
	places := m.parameters(false)
	if m.LossRows > 0 {
		places = append(places, m.trainingState()...)
	}
	var held []HostTensor
	for _, f := range files {
		t, err := f.scan(nil)
		if err != nil {
			return err
		}
		held = append(held, t.Tensors...)
	}
	at := map[string]blas.Tensor{}
	for _, p := range places {
		if err := p.in(held); err != nil {
			return err
		}
		at[p.name] = p.tensor.Flat()
	}
	room := make([]byte, copyElements*m.Params.Value.DType().Size())
	for _, f := range files {
		if _, err := f.scan(func(t *HostTensor, data *io.LimitedReader) error {
			dst, ok := at[t.Name]
			if !ok {
				return nil
			}
			return inParts(dst, room, func(part blas.Tensor, room []byte) error {
				_, err := io.ReadFull(data, room)
				if err == nil {
					m.dev.Upload(part, room)
				}
				return err
			})
		}); err != nil {
			return err
		}
	}
	m.Refresh()
	return nil
}

// place is a tensor of the device by the name and shape that it has in a file.
type place struct {
	name   string
	shape  []int
	tensor blas.Tensor
}

// in says why none of the tensors of a file's header fits the place.
func (p place) in(held []HostTensor) error {
	i := slices.IndexFunc(held, func(t HostTensor) bool { return t.Name == p.name })
	if i < 0 {
		return fmt.Errorf("no tensor %s: the checkpoint is of another model", p.name)
	}
	if t, want := held[i], tensorNames[p.tensor.DType()]; t.DType != want || !slices.Equal(t.Shape, p.shape) {
		return fmt.Errorf("tensor %s is %s%v, the model's is %s%v: the checkpoint is of another model", t.Name, t.DType, t.Shape, want, p.shape)
	}
	return nil
}

// parameters are the encoder's, or those of training alone.
func (m *Model) parameters(training bool) (out []place) {
	for _, q := range m.Params.List {
		if q.Name != "" && q.Training() == training {
			out = append(out, place{q.Name, q.Shape, m.Params.Value.Slice(q.at, q.at+q.Len())})
		}
	}
	return out
}

func (m *Model) trainingState() []place {
	p := m.Params
	return append(m.parameters(true), place{"exp_avg", []int{p.M.Len()}, p.M}, place{"exp_avg_sq", []int{p.V.Len()}, p.V},
		place{"counters", []int{m.state.Len()}, m.state})
}

// copyElements is how many elements of a tensor are in host memory at a time while it is written to a file or read from it.
const copyElements = 16 << 10

// inParts does t, which is flat, part by part, each with as many bytes of room.
func inParts(t blas.Tensor, room []byte, do func(part blas.Tensor, room []byte) error) error {
	for lo := 0; lo < t.Len(); lo += copyElements {
		part := t.Slice(lo, min(lo+copyElements, t.Len()))
		if err := do(part, room[:part.Bytes()]); err != nil {
			return err
		}
	}
	return nil
}

// onDevice is tensors of the device as a file takes them.
func (m *Model) onDevice(places []place) (out []HostTensor) {
	for _, p := range places {
		out = append(out, HostTensor{Name: p.name, DType: tensorNames[p.tensor.DType()], Shape: p.shape, copy: func(w io.Writer) error {
			flat := p.tensor.Flat()
			return inParts(flat, make([]byte, min(copyElements, flat.Len())*flat.DType().Size()), func(part blas.Tensor, room []byte) error {
				if err := m.dev.Download(room, part); err != nil {
					return fmt.Errorf("downloading %s: %w", p.name, err)
				}
				_, err := w.Write(room)
				return err
			})
		}})
	}
	return out
}
