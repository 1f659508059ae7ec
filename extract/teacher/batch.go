package teacher

import (
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

// Batch holds the pixels and features of Options.Batch images, outside the Go heap, since onnxruntime keeps pointers into
// both while the batch lives. Different rows may be written at the same time.
type Batch struct {
	s          *Session
	in         ort.Value
	out        *ort.Tensor[float32]
	pixels     region // float32 or float16 [Batch, 3, Size, Size], as the model takes it
	features   region // float32 [Batch, Tokens, Dim]
	inputs     [1]ort.Value
	outputs    [1]ort.Value
	pixelRow   int // numbers per image
	featureRow int
}

// NewBatch allocates a batch. Free gives it back.
func (s *Session) NewBatch() (*Batch, error) {
	side := s.model.Size
	b := &Batch{s: s, pixelRow: 3 * side * side, featureRow: s.Tokens * s.Dim}
	if err := b.allocate(); err != nil {
		b.Free()
		return nil, fmt.Errorf("batch of %d images for %s: %w", s.Batch, s.model.Path, err)
	}
	return b, nil
}

func (b *Batch) allocate() (err error) {
	n := b.s.Batch
	if bound := b.s.bound; bound != nil {
		if b.pixels, err = bound.mem.pin(b.s.model.pixelBytes(n)); err != nil {
			return err
		}
		b.features, err = bound.mem.pin(b.s.featureBytes())
		return err
	}
	if b.in, b.pixels, err = b.s.model.newInput(n); err != nil {
		return err
	}
	if b.features, err = newRegion(b.s.featureBytes()); err != nil {
		return err
	}
	b.out, err = ort.NewTensor(ort.NewShape(int64(n), int64(b.s.Tokens), int64(b.s.Dim)), b.features.float32s())
	b.inputs[0], b.outputs[0] = b.in, b.out
	return err
}

// featureBytes is the size of a batch's features.
func (s *Session) featureBytes() int { return s.Batch * s.Tokens * s.Dim * 4 }

// pixelBytes is the size of n images as the model takes them.
func (m *Model) pixelBytes(n int) int {
	width := 4
	if m.Input.Elem == Float16 {
		width = 2
	}
	return n * 3 * m.Size * m.Size * width
}

// newInput allocates n images of the type that the model takes.
func (m *Model) newInput(n int) (ort.Value, region, error) {
	shape := ort.NewShape(int64(n), 3, int64(m.Size), int64(m.Size))
	pixels, err := newRegion(m.pixelBytes(n))
	if err != nil {
		return nil, nil, err
	}
	var v ort.Value
	if m.Input.Elem == Float16 {
		v, err = ort.NewCustomDataTensor(shape, pixels, ort.TensorElementDataTypeFloat16)
	} else {
		v, err = ort.NewTensor(shape, pixels.float32s())
	}
	if err != nil { // v holds a nil pointer then, and is not nil itself
		pixels.free()
		return nil, nil, err
	}
	return v, pixels, nil
}

// Free gives the memory back; the batch must not be running, and its session must still be open.
func (b *Batch) Free() {
	if bound := b.s.bound; bound != nil {
		for _, r := range []*region{&b.pixels, &b.features} {
			if *r != nil {
				bound.mem.unpin(*r)
				*r = nil
			}
		}
		return
	}
	if b.in != nil {
		b.in.Destroy()
		b.in = nil
	}
	if b.out != nil {
		b.out.Destroy()
		b.out = nil
	}
	b.pixels.free()
	b.features.free()
}

// Patches gives row i's patch features, [Grid*Grid, Dim] in raster order, valid until the next Run.
func (b *Batch) Patches(i int) []float32 {
	row := b.features.float32s()[i*b.featureRow : (i+1)*b.featureRow]
	return row[b.s.Prefix*b.s.Dim:]
}

// CLS gives row i's class token's feature, nil where the teacher has none.
func (b *Batch) CLS(i int) []float32 {
	if !b.s.HasCLS() {
		return nil
	}
	return b.features.float32s()[i*b.featureRow:][:b.s.Dim]
}
