package arrowfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
)

// maxHead bounds the metadata of a message; a schema of a few columns takes hundreds of bytes.
const maxHead = 16 << 20

// span is the place of a buffer in a body.
type span struct{ offset, length int64 }

// File walks through the messages of a file that may be damaged or hostile.
type File struct {
	r      io.ReaderAt
	at     int64 // of the next message
	end    int64 // of the messages: where the footer starts
	Schema *arrow.Schema
	Layout Layout
	Header int64 // bytes before the first batch
}

// Open reads the schema of a file of size bytes.
func Open(r io.ReaderAt, size int64) (*File, error) {
	start := make([]byte, len(magic))
	if _, err := r.ReadAt(start, 0); err != nil || string(start) != magic {
		return nil, errors.New("not an Arrow file: it does not start with ARROW1")
	}
	end, err := footer(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{r: r, at: int64(len(magic)), end: end}
	head, block, err := f.next()
	if err != nil {
		return nil, err
	}
	m := flat{buf: head[8:]}
	message := m.ref(0)
	if m.byteSlot(message, 1) != headerSchema || block.Body != 0 {
		return nil, errors.New("the first message is not a schema")
	}
	if f.Schema, err = getSchema(&m, m.tableSlot(message, 2)); err != nil {
		return nil, err
	}
	f.Layout, f.Header = LayoutOf(f.Schema), f.at
	return f, nil
}

// footer finds where the footer starts; the last bytes of a file give its length. What it says is not needed: batches are
// found by walking.
func footer(r io.ReaderAt, size int64) (int64, error) {
	var last [10]byte
	if size < int64(len(magic)+len(last)) {
		return 0, errors.New("the file is truncated")
	}
	if _, err := r.ReadAt(last[:], size-int64(len(last))); err != nil {
		return 0, truncated(err)
	}
	length := int64(int32(binary.LittleEndian.Uint32(last[:])))
	end := size - int64(len(last)) - length
	if string(last[4:]) != magic[:6] || length < 0 || end < int64(len(magic)) {
		return 0, errors.New("the file is truncated: it does not end with a footer and ARROW1")
	}
	return end, nil
}

// Next is the place of the next batch; io.EOF after the last.
func (f *File) Next() (Block, error) {
	_, block, err := f.next()
	return block, err
}

// next reads the metadata of the message at f.at and steps over the message.
func (f *File) next() ([]byte, Block, error) {
	fail := func(err error) ([]byte, Block, error) {
		return nil, Block{}, fmt.Errorf("message at byte %d: %w", f.at, err)
	}
	if f.at == f.end { // some writers put no mark behind the last batch
		return nil, Block{}, io.EOF
	}
	var prefix [8]byte
	if _, err := f.r.ReadAt(prefix[:], f.at); err != nil {
		return fail(truncated(err))
	}
	if string(prefix[:]) == endOfStream {
		return nil, Block{}, io.EOF
	}
	length := int64(int32(binary.LittleEndian.Uint32(prefix[4:])))
	if string(prefix[:4]) != endOfStream[:4] || length <= 0 || length > min(maxHead, f.end-f.at-8) {
		return fail(errors.New("damaged prefix"))
	}
	head := make([]byte, 8+length)
	if _, err := f.r.ReadAt(head, f.at); err != nil {
		return fail(truncated(err))
	}
	m := flat{buf: head[8:]}
	body := m.int64Slot(m.ref(0), 3)
	if m.err != nil {
		return fail(m.err)
	}
	if body < 0 || body > f.end-f.at-int64(len(head)) {
		return fail(fmt.Errorf("a body of %d bytes does not fit into the file", body))
	}
	block := Block{Offset: f.at, Head: int32(len(head)), Body: body}
	f.at += int64(len(head)) + body
	return head, block, nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the file is truncated")
	}
	return err
}

// Batch is the parsed metadata of a record batch message, over the message's own bytes.
type Batch struct {
	Rows  int
	Nodes []Node
	spans []span
	body  []byte
	zstd  bool
}

// Parse reads the metadata of a whole message, and checks that all nodes and buffers of the layout are there and lie within
// the body. Nothing is decompressed. The memory of b is used again; b refers to message.
func (b *Batch) Parse(message []byte, l *Layout) error {
	if len(message) < 8 || string(message[:4]) != endOfStream[:4] {
		return errors.New("damaged message prefix")
	}
	length := int64(int32(binary.LittleEndian.Uint32(message[4:])))
	if length <= 0 || length > int64(len(message)-8) {
		return errors.New("damaged message prefix")
	}
	m := flat{buf: message[8 : 8+length]}
	b.body = message[8+length:]
	root := m.ref(0)
	version, kind, body := m.int16Slot(root, 0, 0), m.byteSlot(root, 1), m.int64Slot(root, 3)
	table := m.tableSlot(root, 2)
	rows := m.int64Slot(table, 0)
	b.readNodes(&m, table)
	b.readSpans(&m, table)
	b.zstd = false
	compressed, codec, method := m.tableSlot(table, 3), uint8(0), uint8(0)
	if compressed != 0 {
		codec, method = m.byteSlot(compressed, 0), m.byteSlot(compressed, 1)
		b.zstd = true
	}
	switch {
	case m.err != nil:
		return m.err
	case version != metadataV5 && version != metadataV4:
		return fmt.Errorf("metadata version %d is not supported", version)
	case kind != headerBatch:
		return errors.New("the message is not a record batch")
	case body != int64(len(b.body)):
		return fmt.Errorf("a body of %d bytes, announced are %d", len(b.body), body)
	case b.zstd && (codec != codecZstd || method != 0):
		return fmt.Errorf("buffers are compressed by codec %d, method %d; only zstd is supported", codec, method)
	case len(b.Nodes) != l.Nodes || len(b.spans) != l.Buffers:
		return fmt.Errorf("%d arrays and %d buffers, the schema has %d and %d", len(b.Nodes), len(b.spans), l.Nodes, l.Buffers)
	}
	return b.check(rows, l)
}

func (b *Batch) readNodes(m *flat, table int) {
	at, n := m.vector(table, 1, 16)
	b.Nodes = b.Nodes[:0]
	for i := range n {
		b.Nodes = append(b.Nodes, Node{m.i64(at + 16*i), m.i64(at + 16*i + 8)})
	}
}

func (b *Batch) readSpans(m *flat, table int) {
	at, n := m.vector(table, 2, 16)
	b.spans = b.spans[:0]
	for i := range n {
		b.spans = append(b.spans, span{m.i64(at + 16*i), m.i64(at + 16*i + 8)})
	}
}

// check holds counts and places against each other.
func (b *Batch) check(rows int64, l *Layout) error {
	if rows < 0 || rows > 1<<31-2 {
		return fmt.Errorf("a batch of %d rows", rows)
	}
	b.Rows = int(rows)
	for _, i := range l.Node {
		if b.Nodes[i].Length != rows {
			return fmt.Errorf("a column of %d rows in a batch of %d", b.Nodes[i].Length, rows)
		}
	}
	for _, n := range b.Nodes {
		if n.Length < 0 || n.Nulls < 0 || n.Nulls > n.Length {
			return fmt.Errorf("an array of %d items with %d nulls", n.Length, n.Nulls)
		}
	}
	for _, s := range b.spans {
		if s.offset < 0 || s.length < 0 || s.offset > int64(len(b.body)) || s.length > int64(len(b.body))-s.offset {
			return fmt.Errorf("a buffer of %d bytes at %d lies outside the body of %d", s.length, s.offset, len(b.body))
		}
	}
	return nil
}

// Size is the uncompressed size that buffer i claims. The claim is not to be trusted before it is compared with what the
// column can have.
func (b *Batch) Size(i int) (int64, error) {
	raw, size, err := b.stored(i)
	if size < 0 {
		size = int64(len(raw))
	}
	return size, err
}

// maxRatio is more than zstd can compress: a block of at most 128 KiB takes at least 4 bytes (RFC 8878, 3.1.1.2). It bounds what a claim
// can make a reader allocate by what the file holds.
const maxRatio = 1 << 15

// stored gives the bytes of buffer i as they lie in the file, and the size they decompress to, -1 where they are plain.
func (b *Batch) stored(i int) ([]byte, int64, error) {
	s := b.spans[i]
	raw := b.body[s.offset : s.offset+s.length]
	if !b.zstd || len(raw) == 0 {
		return raw, -1, nil
	}
	if len(raw) < 8 {
		return nil, 0, fmt.Errorf("buffer %d has no room for its size", i)
	}
	size := int64(binary.LittleEndian.Uint64(raw))
	if size < -1 || size/maxRatio > int64(len(raw)) {
		return nil, 0, fmt.Errorf("buffer %d claims %d bytes in %d", i, size, len(raw))
	}
	return raw[8:], size, nil
}

// padding is how much longer than its content a buffer may be: writers pad to 64 bytes at most.
const padding = 63

// Read fills dst with buffer i, which must hold as many bytes, apart from padding.
func (b *Batch) Read(i int, dst []byte) error {
	raw, size, err := b.stored(i)
	if err != nil {
		return err
	}
	have := size
	if size < 0 {
		have = int64(len(raw))
	}
	want := int64(len(dst))
	if have < want || have > want+padding {
		return fmt.Errorf("buffer %d has %d bytes, want %d", i, have, want)
	}
	switch {
	case size < 0:
		copy(dst, raw)
		return nil
	case have == want:
		err = decompress(dst, raw)
	default:
		padded := make([]byte, have)
		if err = decompress(padded, raw); err == nil {
			copy(dst, padded)
		}
	}
	if err != nil {
		return fmt.Errorf("buffer %d: %w", i, err)
	}
	return nil
}
