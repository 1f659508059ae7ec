// Package sample shows rows of a store: a stored view rendered again, with what the teacher said of it.
package sample

import (
	"context"
	"crypto/sha256"
	"fmt"
	"image"

	"mvptargets/internal/source"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

// Sample is one row of a store.
type Sample struct {
	Key      string
	View     view.View
	Label    int32     // -1 for none
	Pixels   []uint8   // [S, S, 3], the view as both stages see it
	Features []float32 // [P, D], the teacher's, raster order
}

// Query says which rows are wanted.
type Query struct {
	Key   string // all views of this image; "" for any images
	Count int    // with no Key: this many rows, of as many different labels as can be
	Size  int    // pixels on a side that views are rendered to
}

// row is a row that was found, before its image is read.
type row struct {
	Sample
	image [32]byte
}

// Find reads the rows that q asks for and renders their views from images, what the store was made from.
func Find(ctx context.Context, s *shards.Store, images string, q Query) ([]Sample, error) {
	src, err := source.Open(images)
	if err != nil {
		return nil, err
	}
	decoder, err := view.NewDecoderFamily(s.Manifest().Producer.Decoder)
	if err != nil {
		return nil, err
	}
	rows, err := find(ctx, s, q)
	if err != nil {
		return nil, err
	}
	out := make([]Sample, len(rows))
	for i, r := range rows {
		out[i] = r.Sample
		if out[i].Pixels, err = render(s, src, decoder, r, q.Size); err != nil {
			return nil, fmt.Errorf("image %s: %w", r.Key, err)
		}
	}
	return out, nil
}

// candidates is how many rows are looked at for each that is wanted, so that labels can differ.
const candidates = 8

func find(ctx context.Context, s *shards.Store, q Query) ([]row, error) {
	index, err := s.Index()
	if err != nil {
		return nil, err
	}
	var found []row
	seen := map[shards.Identity]bool{}
	reader, batch := s.Reader(), &shards.Batch{}
	for _, ref := range index.Batches {
		if q.Key == "" && len(found) >= candidates*q.Count {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := reader.ReadBatch(ref, batch); err != nil {
			return nil, err
		}
		for i := range batch.Rows {
			id := shards.Identity{Key: batch.Key[i], Image: batch.Image[i], View: batch.View[i].Index}
			if q.Key != "" && id.Key != q.Key || seen[id] {
				continue
			}
			seen[id] = true
			found = append(found, take(s.Manifest(), batch, i))
		}
	}
	switch {
	case len(found) == 0 && q.Key != "":
		return nil, fmt.Errorf("store %s has no image %q; keys are paths relative to the source it was made from", s.Dir(), q.Key)
	case len(found) == 0:
		return nil, fmt.Errorf("store %s holds no rows yet; run mvp-extract", s.Dir())
	case q.Key != "":
		return found, nil
	}
	return spread(found, q.Count), nil
}

// take copies row i of a batch.
func take(m shards.Manifest, b *shards.Batch, i int) row {
	n := m.Patches() * m.Dim
	r := row{Sample: Sample{Key: b.Key[i], View: b.View[i], Label: b.Label[i], Features: make([]float32, n)}, image: b.Image[i]}
	shards.F32FromF16(r.Features, b.Patches[i*n:(i+1)*n])
	return r
}

// spread picks n of the rows in their order, first one of each label, then of those that are left.
func spread(rows []row, n int) (out []row) {
	picked, labels := map[int]bool{}, map[int32]bool{}
	for _, fresh := range []bool{true, false} {
		for i, r := range rows {
			if len(out) == n {
				return out
			}
			if picked[i] || fresh && labels[r.Label] {
				continue
			}
			picked[i], labels[r.Label] = true, true
			out = append(out, r)
		}
	}
	return out
}

// render reads and decodes the image of a row. It must be the file that the teacher saw.
func render(s *shards.Store, src source.Source, decoder view.Decoder, r row, size int) ([]uint8, error) {
	data, err := src.Read(nil, r.Key)
	if err != nil {
		return nil, fmt.Errorf("%w; --images must be what the store was made from", err)
	}
	if sha256.Sum256(data) != r.image {
		return nil, fmt.Errorf("the file has changed since its features were stored; restore it, or make a new store")
	}
	img, err := decoder.Decode(data)
	if err != nil {
		return nil, err
	}
	pixels := make([]uint8, 3*size*size)
	return pixels, s.Manifest().Producer.Policy.Render(pixels, img, r.View, size)
}

// Picture is RGB pixels [S, S, 3] as an image.
func Picture(pixels []uint8, size int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, size, size))
	for i := range size * size {
		copy(m.Pix[4*i:], pixels[3*i:3*i+3])
		m.Pix[4*i+3] = 255
	}
	return m
}
