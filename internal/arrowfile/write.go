package arrowfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	flatbuffers "github.com/google/flatbuffers/go"
)

const magic = "ARROW1\x00\x00"

// endOfStream stands behind the last batch: a continuation mark and a metadata length of zero.
const endOfStream = "\xff\xff\xff\xff\x00\x00\x00\x00"

// align rounds up to the 8 bytes to which the format pads metadata and buffers.
func align(n int) int { return (n + 7) &^ 7 }

// Node is the length of an array and its number of nulls.
type Node struct{ Length, Nulls int64 }

// Record is a record batch to be written: nodes and buffers in the order of the schema's Layout. A validity buffer may be nil
// where nothing is null.
type Record struct {
	Rows    int
	Nodes   []Node
	Buffers [][]byte
	Noisy   []int // numbers of the buffers in which nothing repeats, only some bytes are more frequent; ascending
}

// Message is an encoded message: Head is the prefix and the padded metadata, Body the padded buffers.
type Message struct{ Head, Body []byte }

// Size is the number of bytes of the message in a file.
func (m *Message) Size() int64 { return int64(len(m.Head) + len(m.Body)) }

// Encode compresses r into m, whose memory is used again. It is a pure function of r and safe for concurrent use.
func (m *Message) Encode(r *Record) {
	m.Body = m.Body[:0]
	spans := make([]span, len(r.Buffers))
	for i, src := range r.Buffers {
		spans[i].offset = int64(len(m.Body))
		code := compress
		if slices.Contains(r.Noisy, i) {
			code = compressLiterals
		}
		m.Body = appendBuffer(m.Body, src, code)
		spans[i].length = int64(len(m.Body)) - spans[i].offset
		m.Body = append(m.Body, make([]byte, align(len(m.Body))-len(m.Body))...)
	}
	b := flatbuffers.NewBuilder(1024)
	header := putBatch(b, r, spans)
	putMessage(b, headerBatch, header, int64(len(m.Body)))
	m.Head = appendHead(m.Head[:0], b.FinishedBytes())
}

// appendBuffer appends src in the compressed form of the format, or as it is where that is shorter.
func appendBuffer(dst, src []byte, code func(dst, src []byte) []byte) []byte {
	if len(src) == 0 {
		return dst
	}
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(src)))
	dst = code(dst, src)
	if len(dst)-start < 8+len(src) {
		return dst
	}
	dst = binary.LittleEndian.AppendUint64(dst[:start], ^uint64(0))
	return append(dst, src...)
}

// putBatch writes the table RecordBatch.
func putBatch(b *flatbuffers.Builder, r *Record, spans []span) flatbuffers.UOffsetT {
	b.StartObject(2)
	b.PrependInt8Slot(0, codecZstd, 0)
	codec := b.EndObject()
	b.StartVector(16, len(spans), 8)
	for i := len(spans) - 1; i >= 0; i-- {
		putPair(b, spans[i].offset, spans[i].length)
	}
	buffers := b.EndVector(len(spans))
	b.StartVector(16, len(r.Nodes), 8)
	for i := len(r.Nodes) - 1; i >= 0; i-- {
		putPair(b, r.Nodes[i].Length, r.Nodes[i].Nulls)
	}
	nodes := b.EndVector(len(r.Nodes))
	b.StartObject(5)
	b.PrependInt64Slot(0, int64(r.Rows), 0)
	b.PrependUOffsetTSlot(1, nodes, 0)
	b.PrependUOffsetTSlot(2, buffers, 0)
	b.PrependUOffsetTSlot(3, codec, 0)
	return b.EndObject()
}

// putPair writes a struct of two int64.
func putPair(b *flatbuffers.Builder, first, second int64) {
	b.Prep(8, 16)
	b.PrependInt64(second)
	b.PrependInt64(first)
}

// putMessage finishes b with the table Message.
func putMessage(b *flatbuffers.Builder, kind byte, header flatbuffers.UOffsetT, body int64) {
	b.StartObject(5)
	b.PrependInt16Slot(0, metadataV5, 0)
	b.PrependByteSlot(1, kind, 0)
	b.PrependUOffsetTSlot(2, header, 0)
	b.PrependInt64Slot(3, body, 0)
	b.Finish(b.EndObject())
}

// appendHead appends metadata with its prefix and padding.
func appendHead(dst, meta []byte) []byte {
	dst = append(dst, "\xff\xff\xff\xff"...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(align(len(meta))))
	dst = append(dst, meta...)
	return append(dst, make([]byte, align(len(meta))-len(meta))...)
}

// Block is the place of a message in a file.
type Block struct {
	Offset int64
	Head   int32 // bytes of prefix and metadata
	Body   int64
}

// Writer writes a file from front to back. It keeps nothing but the places of the batches.
type Writer struct {
	w      io.Writer
	schema *arrow.Schema
	at     int64
	blocks []Block
}

// NewWriter writes the start of a file to w.
func NewWriter(w io.Writer, schema *arrow.Schema) (*Writer, error) {
	b := flatbuffers.NewBuilder(1024)
	header, err := putSchema(b, schema)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	putMessage(b, headerSchema, header, 0)
	f := &Writer{w: w, schema: schema}
	return f, f.write(appendHead([]byte(magic), b.FinishedBytes()))
}

func (f *Writer) write(p []byte) error {
	n, err := f.w.Write(p)
	f.at += int64(n)
	return err
}

// Size is the number of bytes written so far.
func (f *Writer) Size() int64 { return f.at }

// Append writes a batch and says where it lies.
func (f *Writer) Append(m *Message) (Block, error) {
	block := Block{Offset: f.at, Head: int32(len(m.Head)), Body: int64(len(m.Body))}
	if err := f.write(m.Head); err != nil {
		return block, err
	}
	if err := f.write(m.Body); err != nil {
		return block, err
	}
	f.blocks = append(f.blocks, block)
	return block, nil
}

// Close writes the end of the file. It does not close the underlying writer.
func (f *Writer) Close() error {
	b := flatbuffers.NewBuilder(1024)
	schema, err := putSchema(b, f.schema)
	if err != nil {
		return err
	}
	b.StartVector(24, 0, 8)
	dictionaries := b.EndVector(0)
	b.StartVector(24, len(f.blocks), 8)
	for i := len(f.blocks) - 1; i >= 0; i-- {
		b.Prep(8, 24)
		b.PrependInt64(f.blocks[i].Body)
		b.Pad(4)
		b.PrependInt32(f.blocks[i].Head)
		b.PrependInt64(f.blocks[i].Offset)
	}
	batches := b.EndVector(len(f.blocks))
	b.StartObject(5)
	b.PrependInt16Slot(0, metadataV5, 0)
	b.PrependUOffsetTSlot(1, schema, 0)
	b.PrependUOffsetTSlot(2, dictionaries, 0)
	b.PrependUOffsetTSlot(3, batches, 0)
	b.Finish(b.EndObject())
	footer := b.FinishedBytes()
	end := append([]byte(endOfStream), footer...)
	end = binary.LittleEndian.AppendUint32(end, uint32(len(footer)))
	return f.write(append(end, magic[:6]...))
}
