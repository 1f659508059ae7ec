package arrowfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/float16"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// testSchema has a column of every supported type.
func testSchema() *arrow.Schema {
	meta := arrow.NewMetadata([]string{"a", "b"}, []string{"1", "ä"})
	return arrow.NewSchema([]arrow.Field{
		{Name: "text", Type: arrow.BinaryTypes.String},
		{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "digest", Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}},
		{Name: "u16", Type: arrow.PrimitiveTypes.Uint16},
		{Name: "i8", Type: arrow.PrimitiveTypes.Int8},
		{Name: "i32", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "i64", Type: arrow.PrimitiveTypes.Int64},
		{Name: "flag", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "f32", Type: arrow.PrimitiveTypes.Float32},
		{Name: "crop", Type: arrow.FixedSizeListOf(4, arrow.PrimitiveTypes.Int32)},
		{Name: "half", Type: arrow.FixedSizeListOf(100, arrow.FixedWidthTypes.Float16)},
		{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32), Nullable: true},
	}, &meta)
}

// testRecord fills every column with random values of a realistic kind.
func testRecord(rows int, seed uint64) arrow.Record {
	r := rand.New(rand.NewPCG(seed, 1))
	b := array.NewRecordBuilder(memory.DefaultAllocator, testSchema())
	for i := range rows {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("class/%d.jpg", i))
		if i%3 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.BinaryBuilder).Append(make([]byte, r.IntN(50)))
		}
		digest := make([]byte, 32)
		for j := range digest {
			digest[j] = byte(r.Uint32())
		}
		b.Field(2).(*array.FixedSizeBinaryBuilder).Append(digest)
		b.Field(3).(*array.Uint16Builder).Append(uint16(r.Uint32()))
		b.Field(4).(*array.Int8Builder).Append(int8(r.Uint32()))
		if i%2 == 0 {
			b.Field(5).AppendNull()
		} else {
			b.Field(5).(*array.Int32Builder).Append(-int32(i))
		}
		b.Field(6).(*array.Int64Builder).Append(r.Int64())
		b.Field(7).(*array.BooleanBuilder).Append(r.IntN(2) == 0)
		b.Field(8).(*array.Float32Builder).Append(float32(r.NormFloat64()))
		crop := b.Field(9).(*array.FixedSizeListBuilder)
		crop.Append(true)
		crop.ValueBuilder().(*array.Int32Builder).AppendValues([]int32{0, 1, int32(i), 3}, nil)
		half := b.Field(10).(*array.FixedSizeListBuilder)
		half.Append(true)
		for range 100 {
			half.ValueBuilder().(*array.Float16Builder).Append(float16.New(float32(r.NormFloat64())))
		}
		list := b.Field(11).(*array.ListBuilder)
		list.Append(i%4 != 1)
		for range i % 4 {
			list.ValueBuilder().(*array.Float32Builder).Append(float32(i))
		}
	}
	return b.NewRecord()
}

// flatten gives the nodes and buffers of a record in the order of the format.
func flatten(rec arrow.Record) *Record {
	out := &Record{Rows: int(rec.NumRows())}
	var walk func(d arrow.ArrayData)
	walk = func(d arrow.ArrayData) {
		out.Nodes = append(out.Nodes, Node{int64(d.Len()), int64(d.NullN())})
		for i, b := range d.Buffers() {
			var raw []byte
			if b != nil && (i > 0 || d.NullN() > 0) {
				raw = b.Bytes()
			}
			out.Buffers = append(out.Buffers, raw)
		}
		for _, c := range d.Children() {
			walk(c)
		}
	}
	for _, c := range rec.Columns() {
		walk(c.Data())
	}
	return out
}

// ours writes records with this package.
func ours(t testing.TB, records ...arrow.Record) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, testSchema())
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	for _, rec := range records {
		m.Encode(flatten(rec))
		if _, err := w.Append(&m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(file.Len()) {
		t.Fatalf("size %d of %d bytes", w.Size(), file.Len())
	}
	return file.Bytes()
}

// theirs writes records with Arrow's own package.
func theirs(t testing.TB, options []ipc.Option, records ...arrow.Record) []byte {
	t.Helper()
	var file memFile
	w, err := ipc.NewFileWriter(&file, append(options, ipc.WithSchema(testSchema()))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// memFile only tells its place, as Arrow's writer asks.
type memFile struct{ bytes.Buffer }

func (f *memFile) Seek(int64, int) (int64, error) { return int64(f.Len()), nil }

func TestArrowReadsWhatWeWrite(t *testing.T) {
	want := []arrow.Record{testRecord(17, 1), testRecord(1, 2), testRecord(300, 3)}
	file := ours(t, want...)
	r, err := ipc.NewFileReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Schema().Equal(testSchema()) || !r.Schema().Metadata().Equal(testSchema().Metadata()) {
		t.Fatalf("schema came back as %v", r.Schema())
	}
	if r.NumRecords() != len(want) {
		t.Fatalf("%d batches", r.NumRecords())
	}
	for i := range want {
		got, err := r.Record(i)
		if err != nil {
			t.Fatal(err)
		}
		if !array.RecordEqual(got, want[i]) {
			t.Errorf("batch %d changed", i)
		}
	}
	stream, err := ipc.NewReader(bytes.NewReader(file[len(magic):]))
	if err != nil {
		t.Fatal(err)
	}
	batches := 0
	for stream.Next() {
		batches++
	}
	if stream.Err() != nil || batches != len(want) {
		t.Errorf("as a stream: %d batches, %v", batches, stream.Err())
	}
}

func TestWeReadWhatArrowWrites(t *testing.T) {
	want := []arrow.Record{testRecord(17, 1), testRecord(1, 2), testRecord(300, 3)}
	for name, options := range map[string][]ipc.Option{"plain": nil, "zstd": {ipc.WithZstd()}} {
		t.Run(name, func(t *testing.T) { compare(t, theirs(t, options, want...), want) })
	}
	t.Run("ours", func(t *testing.T) { compare(t, ours(t, want...), want) })
}

// compare reads a file and compares every buffer with those of the records.
func compare(t *testing.T, file []byte, want []arrow.Record) {
	t.Helper()
	f, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if !f.Schema.Equal(testSchema()) {
		t.Fatalf("schema came back as %v", f.Schema)
	}
	if i := f.Schema.Metadata().FindKey("b"); i < 0 || f.Schema.Metadata().Values()[i] != "ä" {
		t.Errorf("metadata came back as %v", f.Schema.Metadata())
	}
	var b Batch
	for i := range want {
		block, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		end := block.Offset + int64(block.Head) + block.Body
		if err := b.Parse(file[block.Offset:end], &f.Layout); err != nil {
			t.Fatal(err)
		}
		flat := flatten(want[i])
		if b.Rows != flat.Rows {
			t.Fatalf("batch %d has %d rows", i, b.Rows)
		}
		for j, n := range flat.Nodes {
			if b.Nodes[j] != n {
				t.Errorf("batch %d, array %d: %v, want %v", i, j, b.Nodes[j], n)
			}
		}
		for j, src := range flat.Buffers {
			if len(src) == 0 {
				continue
			}
			got := make([]byte, len(src))
			if err := b.Read(j, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, src) {
				t.Errorf("batch %d, buffer %d changed", i, j)
			}
		}
	}
	if _, err := f.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last batch: %v", err)
	}
}

func TestEncodeIsAFunction(t *testing.T) {
	rec := flatten(testRecord(200, 5))
	var first, again Message
	first.Encode(rec)
	again.Encode(flatten(testRecord(3, 9)))
	again.Encode(rec)
	if !bytes.Equal(first.Head, again.Head) || !bytes.Equal(first.Body, again.Body) {
		t.Error("the same record was encoded in two ways")
	}
}

func TestUnsupportedTypesAreErrors(t *testing.T) {
	for _, typ := range []arrow.DataType{arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Uint8, arrow.FixedWidthTypes.Date32} {
		schema := arrow.NewSchema([]arrow.Field{{Name: "odd", Type: typ}}, nil)
		if _, err := NewWriter(io.Discard, schema); err == nil {
			t.Errorf("wrote a schema with %s", typ)
		}
		var file memFile
		w, err := ipc.NewFileWriter(&file, ipc.WithSchema(schema))
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := Open(bytes.NewReader(file.Bytes()), int64(file.Len())); err == nil {
			t.Errorf("read a schema with %s", typ)
		}
	}
}

// walk reads all that a file has to offer, whatever it is.
func walk(file []byte) {
	f, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return
	}
	var b Batch
	for {
		block, err := f.Next()
		if err != nil {
			return
		}
		if b.Parse(file[block.Offset:block.Offset+int64(block.Head)+block.Body], &f.Layout) != nil {
			continue
		}
		for i := range f.Layout.Buffers {
			if n, err := b.Size(i); err == nil && n < 1<<20 {
				b.Read(i, make([]byte, n))
			}
		}
	}
}

// Bits are flipped and files cut at random places: an error may come, a panic or a large allocation may not.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	good := ours(t, testRecord(5, 1), testRecord(20, 2))
	for range 3000 {
		bad := bytes.Clone(good)
		for range 1 + r.IntN(3) {
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		}
		walk(bad[:len(bad)-r.IntN(2)*r.IntN(len(bad))])
	}
	for at := range 2000 { // the metadata stands in front: every bit of it
		for bit := range 8 {
			bad := bytes.Clone(good[:min(len(good), 6000)])
			bad[at] ^= 1 << bit
			walk(bad)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add(ours(f, testRecord(2, 1)))
	f.Add(theirs(f, []ipc.Option{ipc.WithZstd()}, testRecord(2, 1)))
	f.Add(theirs(f, nil, testRecord(1, 1)))
	f.Fuzz(func(t *testing.T, file []byte) { walk(file) })
}

func BenchmarkRead(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	raw := make([]byte, 4<<20)
	for i := 0; i < len(raw); i += 2 {
		h := float16.New(float32(r.NormFloat64())).Uint16()
		raw[i], raw[i+1] = byte(h), byte(h>>8)
	}
	var m Message
	m.Encode(&Record{Rows: 1, Nodes: []Node{{1, 0}, {int64(len(raw) / 2), 0}}, Buffers: [][]byte{nil, nil, raw}})
	layout := LayoutOf(arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.FixedSizeListOf(int32(len(raw)/2), arrow.FixedWidthTypes.Float16)}}, nil))
	file := append(bytes.Clone(m.Head), m.Body...)
	b.SetBytes(int64(len(raw)))
	b.ReportMetric(float64(len(m.Body))/float64(len(raw)), "ratio")
	var batch Batch
	for b.Loop() {
		if err := batch.Parse(file, &layout); err != nil {
			b.Fatal(err)
		}
		if err := batch.Read(2, raw); err != nil {
			b.Fatal(err)
		}
	}
}
