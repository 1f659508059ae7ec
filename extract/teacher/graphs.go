package teacher

import (
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

// memory is where a provider that replays CUDA graphs finds its input and leaves its output.
type memory interface {
	place() (name string, id int) // as onnxruntime calls it
	alloc(bytes int) (uintptr, error)
	free(uintptr)
	pin(bytes int) (region, error) // memory of the host that put and get copy from and to
	unpin(region)
	put(to uintptr, from region) error // both have happened when they return
	get(to region, from uintptr) error
	close()
}

// bound is a session's one input and one output, of a whole batch. onnxruntime records a graph at the first run, or the one after,
// and from then on a run is a replay: it reads and writes the addresses of the recording and copies nothing by itself. A recording
// belongs to the OS thread that made it, so that runs should come from one.
type bound struct {
	mem     memory
	at      [2]uintptr // pixels, features
	tensors [2]*deviceTensor
	binding *ort.IoBinding
}

// bind gives the session its input and output in mem, which belongs to the session from here on.
func (s *Session) bind(mem memory) (err error) {
	s.bound = &bound{mem: mem}
	if s.bound.binding, err = s.session.CreateIoBinding(); err != nil {
		return err
	}
	elem := ort.TensorElementDataType(ort.TensorElementDataTypeFloat)
	if s.model.Input.Elem == Float16 {
		elem = ort.TensorElementDataTypeFloat16
	}
	n, side := int64(s.Batch), int64(s.model.Size)
	in, err := s.bound.place(0, s.model.pixelBytes(s.Batch), ort.NewShape(n, 3, side, side), elem)
	if err != nil {
		return err
	}
	if err := s.bound.binding.BindInput(s.model.Input.Name, in); err != nil {
		return err
	}
	out, err := s.bound.place(1, s.featureBytes(), ort.NewShape(n, int64(s.Tokens), int64(s.Dim)), ort.TensorElementDataTypeFloat)
	if err != nil {
		return err
	}
	return s.bound.binding.BindOutput(s.Feature.Output.Name, out)
}

func (b *bound) place(i, bytes int, shape ort.Shape, elem ort.TensorElementDataType) (_ *deviceTensor, err error) {
	if b.at[i], err = b.mem.alloc(bytes); err != nil {
		return nil, err
	}
	name, id := b.mem.place()
	b.tensors[i], err = newDeviceTensor(name, id, b.at[i], bytes, shape, elem)
	return b.tensors[i], err
}

// run copies a batch's pixels in, computes, and copies its features out.
func (s *Session) runBound(b *Batch) error {
	if err := s.bound.mem.put(s.bound.at[0], b.pixels); err != nil {
		return err
	}
	if err := s.session.RunWithBinding(s.bound.binding); err != nil {
		return fmt.Errorf("with CUDA graphs: %w", err)
	}
	return s.bound.mem.get(b.features, s.bound.at[1])
}

func (b *bound) close() {
	if b.binding != nil {
		b.binding.Destroy()
	}
	for i := range b.at {
		if b.tensors[i] != nil {
			b.tensors[i].Destroy()
		}
		if b.at[i] != 0 {
			b.mem.free(b.at[i])
		}
	}
	b.mem.close()
}
