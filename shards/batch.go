package shards

import (
	"fmt"
	"unsafe"

	"mvptargets/internal/arrowfile"
	"mvptargets/shards/view"
)

// MaxKeyBytes is the length of the longest key that a Writer takes.
const MaxKeyBytes = 1 << 14

// Bounds of a batch that is read, far above what a Writer makes; they are checked before anything is allocated.
const (
	maxBatchBytes = 1 << 30 // of a message, and of its features uncompressed
	maxBatchRows  = 1 << 20
	maxTextBytes  = 1 << 27 // of all keys of a batch or sidecar
	maxJitter     = 64      // numbers of one view's colour jitter
)

// Batch is a decoded record batch: Rows views, features row-major [Rows, P, D]. Its memory is used again by the next read.
type Batch struct {
	Rows    int
	Key     []string
	Image   [][32]byte
	View    []view.View
	Label   []int32  // -1 for none
	Patches []uint16 // float16 bits; those of int8 are multiplied out
	CLS     []uint16 // [Rows, D]; nil where there is none

	raw   []byte // the message
	arrow arrowfile.Batch
	small scratch
}

// scratch holds what is only needed while a batch is decoded.
type scratch struct {
	ends, numbers []int32
	views         []uint16
	floats        []float32
	bytes         []byte
	ints          []int8
}

// source reads columns of a parsed record batch; the first error stays, and what is read after it is empty.
type source struct {
	batch  *arrowfile.Batch
	layout *arrowfile.Layout
	err    error
}

// grown is s with length n, its old memory where that is enough.
func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// fixed reads n numbers of buffer i into dst.
func fixed[T any](s *source, dst []T, i, n int) []T {
	if s.err != nil {
		return dst[:0]
	}
	if size, err := s.batch.Size(i); err != nil {
		s.err = err
		return dst[:0]
	} else if want := int64(n) * int64(unsafe.Sizeof(*new(T))); size < want || size > want+63 {
		s.err = fmt.Errorf("a buffer of %d bytes where %d are needed", size, want)
		return dst[:0]
	}
	dst = grown(dst, n)
	if n > 0 {
		s.err = s.batch.Read(i, bytesOf(dst))
	}
	return dst
}

// ends reads the n+1 offsets in buffer i, which must rise from 0 to at most limit.
func (s *source) ends(dst []int32, i, n int, limit int64) []int32 {
	if size, err := s.batch.Size(i); n == 0 && err == nil && size == 0 {
		return append(dst[:0], 0) // the format lets an empty array have no offsets
	}
	dst = fixed(s, dst, i, n+1)
	if s.err != nil {
		return append(dst[:0], make([]int32, n+1)...)
	}
	last := int32(0)
	for j, e := range dst {
		if e < last || int64(e) > limit || j == 0 && e != 0 {
			s.err = fmt.Errorf("offsets that do not rise from 0 to at most %d", limit)
			return append(dst[:0], make([]int32, n+1)...)
		}
		last = e
	}
	return dst
}

// valid reads the validity bitmap of node i in buffer b; nil where nothing is null.
func (s *source) valid(dst []byte, i, b int) []byte {
	if s.batch.Nodes[i].Nulls == 0 {
		return nil
	}
	return fixed(s, dst, b, (int(s.batch.Nodes[i].Length)+7)/8)
}

// solid refuses nulls in a column and, of a list, in its items.
func (s *source) solid(columns ...int) {
	for _, c := range columns {
		end := len(s.batch.Nodes)
		if c+1 < len(s.layout.Node) {
			end = s.layout.Node[c+1]
		}
		for i := s.layout.Node[c]; i < end && s.err == nil; i++ {
			if s.batch.Nodes[i].Nulls != 0 {
				s.err = fmt.Errorf("nulls in column %d", c)
			}
		}
	}
}

// items refuses a list column whose items are not n.
func (s *source) items(column, n int) {
	if got := s.batch.Nodes[s.layout.Node[column]+1].Length; s.err == nil && got != int64(n) {
		s.err = fmt.Errorf("%d items in column %d, want %d", got, column, n)
	}
}

// strings reads a column of texts; all of them share one piece of memory.
func (s *source) strings(dst []string, tmp *scratch, column, n int) []string {
	b := s.layout.Buffer[column]
	tmp.ends = s.ends(tmp.ends, b+1, n, maxTextBytes)
	tmp.bytes = fixed(s, tmp.bytes, b+2, int(tmp.ends[n]))
	dst = dst[:0]
	if s.err != nil {
		return dst
	}
	all := string(tmp.bytes)
	for i := range n {
		dst = append(dst, all[tmp.ends[i]:tmp.ends[i+1]])
	}
	return dst
}

// decode fills b from message, a record batch of the store's schema.
func (b *Batch) decode(message []byte, m *Manifest, l *arrowfile.Layout) error {
	b.Rows = 0
	if err := b.arrow.Parse(message, l); err != nil {
		return err
	}
	n := b.arrow.Rows
	if n > maxBatchRows || int64(n)*m.decodedBytes() > maxBatchBytes {
		return fmt.Errorf("a batch of %d rows", n)
	}
	s := &source{batch: &b.arrow, layout: l}
	s.solid(colKey, colImage, colView, colCrop, colFlip, colPatches)
	s.items(colCrop, 4*n)
	s.items(colPatches, n*m.Patches()*m.Dim)
	b.Key = s.strings(b.Key, &b.small, colKey, n)
	b.Image = fixed(s, b.Image, l.Buffer[colImage]+1, n)
	b.decodeViews(s, n)
	b.decodeLabels(s, n)
	b.decodePatches(s, n, m)
	if cls := m.colCLS(); m.CLS {
		s.solid(cls)
		s.items(cls, n*m.Dim)
		b.CLS = fixed(s, b.CLS, l.Buffer[cls]+2, n*m.Dim)
	} else {
		b.CLS = nil
	}
	if s.err == nil {
		b.Rows = n
	}
	return s.err
}

func (b *Batch) decodeViews(s *source, n int) {
	tmp, l := &b.small, s.layout
	tmp.views = fixed(s, tmp.views, l.Buffer[colView]+1, n)
	tmp.numbers = fixed(s, tmp.numbers, l.Buffer[colCrop]+2, 4*n)
	tmp.bytes = fixed(s, tmp.bytes, l.Buffer[colFlip]+1, (n+7)/8)
	if s.err != nil {
		return
	}
	b.View = grown(b.View, n)
	for i := range n {
		c := tmp.numbers[4*i : 4*i+4]
		b.View[i] = view.View{Index: tmp.views[i], X: c[0], Y: c[1], W: c[2], H: c[3], Flip: bit(tmp.bytes, i)}
	}
	node, first := l.Node[colJitter], l.Buffer[colJitter]
	tmp.ends = s.ends(tmp.ends, first+1, n, maxJitter*int64(n))
	tmp.floats = fixed(s, tmp.floats, first+3, int(tmp.ends[n]))
	valid := s.valid(tmp.bytes, node, first)
	if s.err != nil || len(tmp.floats) == 0 && int(s.batch.Nodes[node].Nulls) == n {
		return
	}
	for i := range n {
		if valid == nil || bit(valid, i) {
			b.View[i].Jitter = append([]float32{}, tmp.floats[tmp.ends[i]:tmp.ends[i+1]]...)
		}
	}
}

func (b *Batch) decodeLabels(s *source, n int) {
	first := s.layout.Buffer[colLabel]
	b.Label = fixed(s, b.Label, first+1, n)
	valid := s.valid(b.small.bytes, s.layout.Node[colLabel], first)
	if s.err != nil || valid == nil {
		return
	}
	for i := range n {
		if !bit(valid, i) {
			b.Label[i] = -1
		}
	}
}

func (b *Batch) decodePatches(s *source, n int, m *Manifest) {
	values, all := s.layout.Buffer[colPatches]+2, n*m.Patches()*m.Dim
	if m.Producer.Encoding != EncodingI8 {
		b.Patches = fixed(s, b.Patches, values, all)
		return
	}
	s.solid(colScale)
	s.items(colScale, n*m.Patches())
	b.small.ints = fixed(s, b.small.ints, values, all)
	b.small.floats = fixed(s, b.small.floats, s.layout.Buffer[colScale]+2, n*m.Patches())
	b.Patches = b.Patches[:0]
	if s.err == nil {
		b.Patches = grown(b.Patches, all)
		dequantize(b.Patches, b.small.ints, b.small.floats)
	}
}

// drop removes rows, given in ascending order, and closes the gaps.
func (b *Batch) drop(rows []int32) {
	if len(rows) == 0 {
		return
	}
	patches, cls := len(b.Patches)/b.Rows, len(b.CLS)/b.Rows
	to := 0
	for from := range b.Rows {
		if len(rows) > 0 && int(rows[0]) == from {
			rows = rows[1:]
			continue
		}
		if to != from {
			b.Key[to], b.Image[to], b.View[to], b.Label[to] = b.Key[from], b.Image[from], b.View[from], b.Label[from]
			copy(b.Patches[to*patches:(to+1)*patches], b.Patches[from*patches:(from+1)*patches])
			copy(b.CLS[to*cls:(to+1)*cls], b.CLS[from*cls:(from+1)*cls])
		}
		to++
	}
	b.Rows = to
	b.Key, b.Image, b.View, b.Label = b.Key[:to], b.Image[:to], b.View[:to], b.Label[:to]
	b.Patches, b.CLS = b.Patches[:to*patches], b.CLS[:to*cls]
}
