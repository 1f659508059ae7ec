package teacher

import (
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

// Batch holds the pixels and features of Options.Batch images, outside the Go heap, since onnxruntime keeps pointers into
// both while the batch lives. Different rows may be written at the same time.
type Batch struct {
	s          *Session
	in, out    *ort.Tensor[float32]
	pixels     region // float32 [Batch, 3, Size, Size]
	features   region // float32 [Batch, Tokens, Dim]
	pixelRow   int    // numbers per image
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
	n, side := b.s.Batch, int64(b.s.model.Size)
	if b.pixels, err = newRegion(n * b.pixelRow * 4); err != nil {
		return err
	}
	if b.features, err = newRegion(n * b.featureRow * 4); err != nil {
		return err
	}
	if b.in, err = ort.NewTensor(ort.NewShape(int64(n), 3, side, side), b.pixels.float32s()); err != nil {
		return err
	}
	b.out, err = ort.NewTensor(ort.NewShape(int64(n), int64(b.s.Tokens), int64(b.s.Dim)), b.features.float32s())
	return err
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
	plane := b.pixelRow / 3
	row := b.pixels.float32s()[i*b.pixelRow : (i+1)*b.pixelRow]
	red, green, blue := row[:plane], row[plane:2*plane], row[2*plane:]
	t := &b.s.table
	rgb = rgb[:3*plane]
	for p := range red {
		red[p], green[p], blue[p] = t[0][rgb[3*p]], t[1][rgb[3*p+1]], t[2][rgb[3*p+2]]
	}
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
