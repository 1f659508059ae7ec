package teacher

import (
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

	"mvptargets/internal/half"
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
	if b.in, b.pixels, err = b.s.model.newInput(int64(n)); err != nil {
		return err
	}
	if b.features, err = newRegion(n * b.featureRow * 4); err != nil {
		return err
	}
	b.out, err = ort.NewTensor(ort.NewShape(int64(n), int64(b.s.Tokens), int64(b.s.Dim)), b.features.float32s())
	b.inputs[0], b.outputs[0] = b.in, b.out
	return err
}

// newInput allocates n images of the type that the model takes.
func (m *Model) newInput(n int64) (ort.Value, region, error) {
	shape := ort.NewShape(n, 3, int64(m.Size), int64(m.Size))
	width := 4
	if m.Input.Elem == Float16 {
		width = 2
	}
	pixels, err := newRegion(int(shape.FlattenedSize()) * width)
	if err != nil {
		return nil, nil, err
	}
	var v ort.Value
	if width == 2 {
		v, err = ort.NewCustomDataTensor(shape, pixels, ort.TensorElementDataTypeFloat16)
	} else {
		v, err = ort.NewTensor(shape, pixels.float32s())
	}
	if err != nil {
		pixels.free()
	}
	return v, pixels, err
}

// Free gives the memory back; the batch must not be running.
func (b *Batch) Free() {
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

// SetPixels normalizes an RGB image [Size, Size, 3] into row i.
func (b *Batch) SetPixels(i int, rgb []uint8) {
	if b.s.model.Input.Elem == Float16 {
		setPixels(b.pixels.uint16s()[i*b.pixelRow:(i+1)*b.pixelRow], rgb, &b.s.halfTable)
	} else {
		setPixels(b.pixels.float32s()[i*b.pixelRow:(i+1)*b.pixelRow], rgb, &b.s.table)
	}
}

// setPixels turns [H, W, 3] grey levels into [3, H, W] numbers by a table per channel.
func setPixels[T float32 | uint16](row []T, rgb []uint8, t *[3][256]T) {
	plane := len(row) / 3
	red, green, blue := row[:plane], row[plane:2*plane], row[2*plane:]
	rgb = rgb[:3*plane]
	for p := range red {
		red[p], green[p], blue[p] = t[0][rgb[3*p]], t[1][rgb[3*p+1]], t[2][rgb[3*p+2]]
	}
}

// halves rounds a table to float16.
func halves(table *[3][256]float32) (h [3][256]uint16) {
	for c := range h {
		for v := range h[c] {
			h[c][v] = half.F16(table[c][v])
		}
	}
	return h
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
