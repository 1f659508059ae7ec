package probe

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"mvptargets/internal/source"
	"mvptargets/shards/view"
	"mvptargets/student"
)

// Set is a labelled set of images.
type Set struct {
	Path    string
	Classes []string
	Items   []source.Item

	images source.Source
}

// OpenSet lists the images of a class-per-folder tree, or of a text list with labels.
func OpenSet(ctx context.Context, path string) (*Set, error) {
	s := &Set{Path: path}
	var err error
	if s.images, err = source.Open(path); err != nil {
		return nil, err
	}
	err = s.images.Scan(ctx, func(i source.Item) error {
		if i.Err != nil {
			return fmt.Errorf("image %s of %s: %w", i.Key, path, i.Err)
		}
		if i.Label < 0 {
			return fmt.Errorf("image %s of %s has no class: a probe needs a folder with a folder of images per class, or a list with labels", i.Key, path)
		}
		s.Items = append(s.Items, i)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Classes = s.images.Classes()
	if len(s.Items) == 0 {
		return nil, fmt.Errorf("%s holds no images; a probe needs a folder with a folder of images per class", path)
	}
	return s, nil
}

// count is the number of images per class.
func (s *Set) count() []int {
	n := make([]int, len(s.Classes))
	for _, i := range s.Items {
		n[i.Label]++
	}
	return n
}

// labels are those of the items.
func (s *Set) labels() []int32 {
	out := make([]int32, len(s.Items))
	for i, item := range s.Items {
		out[i] = item.Label
	}
	return out
}

// match refuses sets that do not have the same classes, each with an image, in both.
func match(train, test *Set) error {
	if len(train.Classes) < 2 {
		return fmt.Errorf("%s has %d class: a probe needs at least two", train.Path, len(train.Classes))
	}
	for _, pair := range [2][2]*Set{{train, test}, {test, train}} {
		known := map[string]bool{}
		for label, n := range pair[1].count() {
			if n > 0 {
				known[pair[1].Classes[label]] = true
			}
		}
		for _, class := range pair[0].Classes {
			if !known[class] {
				return fmt.Errorf("class %s of %s has no image in %s: both must have the same classes", class, pair[0].Path, pair[1].Path)
			}
		}
	}
	return nil
}

// Features are those of one set: for each layer asked for, [n, 2D].
type Features [][]float32

// batch is a micro-batch of rendered views; n may be smaller than the model's at the end.
type batch struct {
	first, n int
	pixels   []uint8
	err      error
}

// Extract runs the encoder over the set's images, centre views, and pools each of the layers (as Model.Features numbers them).
// Decoding runs ahead on the other cores; each is called as images are done.
func (s *Set) Extract(ctx context.Context, m *student.Model, layers []int, each func(n int)) (Features, error) {
	out := make(Features, len(layers))
	for i := range out {
		out[i] = make([]float32, 0, len(s.Items)*2*m.Width)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan batch, 2)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer cancel()
	reader.Go(func() {
		defer close(ready)
		decoder := view.NewDecoder()
		for first := 0; first < len(s.Items); first += m.Batch {
			b := s.render(decoder, first, min(m.Batch, len(s.Items)-first), m.Batch, m.ImageSize)
			select {
			case ready <- b:
			case <-ctx.Done():
				return
			}
		}
	})
	for b := range ready {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if b.err != nil {
			return nil, b.err
		}
		m.Upload(&student.Batch{N: m.Batch, Pixels: b.pixels})
		m.Encode()
		for i, layer := range layers {
			x, err := m.Features(layer)
			if err != nil {
				return nil, err
			}
			out[i] = pool(out[i], x, b.n, m.Tokens(), m.Width)
		}
		each(b.n)
	}
	return out, ctx.Err()
}

// pool appends [CLS, mean of patches] of n samples of x [B, N, D].
func pool(out []float32, x []float64, n, tokens, width int) []float32 {
	mean := make([]float64, width)
	for s := range n {
		sample := x[s*tokens*width : (s+1)*tokens*width]
		clear(mean)
		for t := 1; t < tokens; t++ {
			for j, v := range sample[t*width : (t+1)*width] {
				mean[j] += v
			}
		}
		for _, v := range sample[:width] {
			out = append(out, float32(v))
		}
		for _, v := range mean {
			out = append(out, float32(v/float64(tokens-1)))
		}
	}
	return out
}

// render decodes n images on all cores into a micro-batch of size images; its error is the first in the order of the images.
func (s *Set) render(decoder view.Decoder, first, n, size, side int) batch {
	b := batch{first: first, n: n, pixels: make([]uint8, size*side*side*3)}
	errs := make([]error, n)
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			var buf []byte
			for i := range jobs {
				buf, errs[i] = s.renderOne(decoder, buf, s.Items[first+i].Key, b.pixels[i*side*side*3:(i+1)*side*side*3], side)
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	for _, err := range errs {
		if b.err == nil {
			b.err = err
		}
	}
	return b
}

func (s *Set) renderOne(decoder view.Decoder, buf []byte, key string, dst []uint8, side int) ([]byte, error) {
	data, err := s.images.Read(buf, key)
	if err != nil {
		return buf, fmt.Errorf("image %s of %s: %w", key, s.Path, err)
	}
	img, err := decoder.Decode(data)
	if err != nil {
		return data, fmt.Errorf("image %s of %s: %w; take it out or mend it", key, s.Path, err)
	}
	defer img.Release()
	p := view.NewCenter()
	if err := p.Render(dst, img, p.View([32]byte{}, 0, img.W, img.H), side); err != nil {
		return data, fmt.Errorf("image %s of %s: %w", key, s.Path, err)
	}
	return data, nil
}

// LayerName is how a layer of a student with depth blocks is named: the block's number from 1, or norm for the final norm behind
// the last.
func LayerName(layer, depth int) string {
	if layer == depth {
		return "norm"
	}
	return fmt.Sprint(layer + 1)
}

// ParseLayers reads "all", or names as LayerName gives them with commas between.
func ParseLayers(text string, depth int) ([]int, error) {
	var names []string
	for layer := range depth + 1 {
		names = append(names, LayerName(layer, depth))
	}
	if text == "all" {
		text = strings.Join(names, ",")
	}
	var out []int
	taken := map[int]bool{}
words:
	for _, word := range strings.Split(text, ",") {
		for layer, name := range names {
			if word == name && !taken[layer] {
				taken[layer] = true
				out = append(out, layer)
				continue words
			}
		}
		return nil, fmt.Errorf("layers %q: %q is not one of all or, once each, %s", text, word, strings.Join(names, ", "))
	}
	return out, nil
}
