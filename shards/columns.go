package shards

import (
	"unsafe"

	"mvptargets/internal/arrowfile"
)

// bytesOf views numbers as the little-endian bytes that Arrow stores; the supported machines are little-endian.
func bytesOf[T any](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(s[0])))
}

// bits is a bitmap in Arrow's order, the first item in the lowest bit.
type bits struct {
	bytes []byte
	n     int
	zeros int
}

func (b *bits) append(set bool) {
	if b.n%8 == 0 {
		b.bytes = append(b.bytes, 0)
	}
	if set {
		b.bytes[b.n/8] |= 1 << (b.n % 8)
	} else {
		b.zeros++
	}
	b.n++
}

func (b *bits) reset() { b.bytes, b.n, b.zeros = b.bytes[:0], 0, 0 }

// validity is the bitmap as an array's validity buffer: nil where nothing is null.
func (b *bits) validity() []byte {
	if b.zeros == 0 {
		return nil
	}
	return b.bytes
}

func bit(bitmap []byte, i int) bool { return bitmap[i/8]>>(i%8)&1 != 0 }

// texts is a column of strings.
type texts struct {
	ends  []int32
	bytes []byte
}

func (t *texts) append(s string) {
	if len(t.ends) == 0 {
		t.ends = append(t.ends, 0)
	}
	t.bytes = append(t.bytes, s...)
	t.ends = append(t.ends, int32(len(t.bytes)))
}

func (t *texts) reset() { t.ends, t.bytes = t.ends[:0], t.bytes[:0] }

// columns is a record batch that is being filled with rows of one view.
type columns struct {
	view        uint16
	key         texts
	image       []byte
	views       []uint16
	crop        []int32
	flip        bits
	jitter      []float32
	jitterEnds  []int32
	jitterValid bits
	label       []int32
	labelValid  bits
	patches     []uint16
	ints        []int8
	scale       []float32
	cls         []uint16
	rows        []sideRow // for the sidecar
}

func (c *columns) len() int { return len(c.views) }

func (c *columns) add(r *Row) {
	c.view = r.Identity.View
	c.key.append(r.Key)
	c.image = append(c.image, r.Image[:]...)
	c.views = append(c.views, r.Identity.View)
	c.crop = append(c.crop, r.View.X, r.View.Y, r.View.W, r.View.H)
	c.flip.append(r.View.Flip)
	if len(c.jitterEnds) == 0 {
		c.jitterEnds = append(c.jitterEnds, 0)
	}
	c.jitter = append(c.jitter, r.View.Jitter...)
	c.jitterEnds = append(c.jitterEnds, int32(len(c.jitter)))
	c.jitterValid.append(r.View.Jitter != nil)
	c.label = append(c.label, max(r.Label, 0))
	c.labelValid.append(r.Label >= 0)
	c.patches = append(c.patches, r.Patches...)
	c.ints, c.scale = append(c.ints, r.Int8...), append(c.scale, r.Scale...)
	c.cls = append(c.cls, r.CLS...)
	c.rows = append(c.rows, sideRow{Identity: r.Identity, width: r.Width, height: r.Height, size: r.FileSize, mtime: r.MTime})
}

func (c *columns) reset() {
	c.key.reset()
	c.flip.reset()
	c.jitterValid.reset()
	c.labelValid.reset()
	c.image, c.views, c.crop, c.jitter, c.jitterEnds = c.image[:0], c.views[:0], c.crop[:0], c.jitter[:0], c.jitterEnds[:0]
	c.label, c.patches, c.cls, c.rows = c.label[:0], c.patches[:0], c.cls[:0], c.rows[:0]
	c.ints, c.scale = c.ints[:0], c.scale[:0]
}

// record lists the nodes and buffers in the order of Manifest.schema; it views the columns.
func (c *columns) record(m *Manifest) *arrowfile.Record {
	n := int64(c.len())
	r := &arrowfile.Record{Rows: c.len()}
	node := func(length int64, nulls int, buffers ...[]byte) {
		r.Nodes = append(r.Nodes, arrowfile.Node{Length: length, Nulls: int64(nulls)})
		r.Buffers = append(r.Buffers, buffers...)
	}
	node(n, 0, nil, bytesOf(c.key.ends), c.key.bytes)
	node(n, 0, nil, c.image)
	node(n, 0, nil, bytesOf(c.views))
	node(n, 0, nil)
	node(4*n, 0, nil, bytesOf(c.crop))
	node(n, 0, nil, c.flip.bytes)
	node(n, c.jitterValid.zeros, c.jitterValid.validity(), bytesOf(c.jitterEnds))
	node(int64(len(c.jitter)), 0, nil, bytesOf(c.jitter))
	node(n, c.labelValid.zeros, c.labelValid.validity(), bytesOf(c.label))
	node(n, 0, nil)
	r.Noisy = append(r.Noisy, len(r.Buffers)+1)
	if m.Producer.Encoding == EncodingI8 {
		node(int64(len(c.ints)), 0, nil, bytesOf(c.ints))
		node(n, 0, nil)
		node(int64(len(c.scale)), 0, nil, bytesOf(c.scale))
	} else {
		node(int64(len(c.patches)), 0, nil, bytesOf(c.patches))
	}
	if m.CLS {
		node(n, 0, nil)
		r.Noisy = append(r.Noisy, len(r.Buffers)+1)
		node(int64(len(c.cls)), 0, nil, bytesOf(c.cls))
	}
	return r
}
