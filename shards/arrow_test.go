package shards

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// Arrow's own package is the twin of our writer and reader: what one writes the other reads, to the same rows.

// testCLS is where testManifest's shards have the class token.
var testCLS = testManifest().colCLS()

// ofBatch is row i of a batch, without what only a sidecar knows.
func ofBatch(b *Batch, i int) *Row {
	r := &Row{Identity: Identity{b.Key[i], b.Image[i], b.View[i].Index}, View: b.View[i], Label: b.Label[i]}
	p, c := len(b.Patches)/b.Rows, len(b.CLS)/b.Rows
	r.Patches, r.CLS = slices.Clone(b.Patches[i*p:(i+1)*p]), slices.Clone(b.CLS[i*c:(i+1)*c])
	return r
}

// text shows all of a row that a shard holds; rows are equal if their texts are.
func (r *Row) text() string {
	return fmt.Sprint(r.Key, r.Image, r.View, r.View.Jitter == nil, r.Label, r.Patches, r.CLS)
}

// ofArrow is row i of a record of Arrow's package.
func ofArrow(rec arrow.Record, i int) *Row {
	numbers := func(column, n int) []uint16 {
		raw := rec.Column(column).(*array.FixedSizeList).ListValues().Data().Buffers()[1].Bytes()
		return arrow.Uint16Traits.CastFromBytes(raw)[i*n : (i+1)*n]
	}
	r := &Row{Label: -1, Patches: numbers(colPatches, 30), CLS: numbers(testCLS, 5)}
	r.Identity = Identity{rec.Column(colKey).(*array.String).Value(i), [32]byte(rec.Column(colImage).(*array.FixedSizeBinary).Value(i)),
		rec.Column(colView).(*array.Uint16).Value(i)}
	crop := rec.Column(colCrop).(*array.FixedSizeList).ListValues().(*array.Int32).Int32Values()[4*i:]
	r.View.Index, r.View.X, r.View.Y, r.View.W, r.View.H = r.Identity.View, crop[0], crop[1], crop[2], crop[3]
	r.View.Flip = rec.Column(colFlip).(*array.Boolean).Value(i)
	if jitter := rec.Column(colJitter).(*array.List); jitter.IsValid(i) {
		from, to := jitter.ValueOffsets(i)
		r.View.Jitter = append([]float32{}, jitter.ListValues().(*array.Float32).Float32Values()[from:to]...)
	}
	if label := rec.Column(colLabel).(*array.Int32); label.IsValid(i) {
		r.Label = label.Value(i)
	}
	return r
}

// jittered are rows of every kind: with and without label and jitter.
func jittered(n int) (rows []*Row) {
	for i := range n {
		r := testRow(i, 3)
		if i%4 > 0 {
			r.View.Jitter = []float32{1, 0.5, float32(i)}[:i%4]
		}
		rows = append(rows, r)
	}
	return rows
}

func TestArrowReadsWhatWeWrite(t *testing.T) {
	s := newStore(t)
	w, err := s.Writer(WriterOptions{Library: "onnxruntime 1"})
	if err != nil {
		t.Fatal(err)
	}
	want := jittered(37)
	for _, r := range want {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := s.Shards()
	raw, err := os.ReadFile(s.shardPath(names[0]))
	if err != nil {
		t.Fatal(err)
	}
	file, err := ipc.NewFileReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	meta := file.Schema().Metadata()
	for key, value := range map[string]string{metaProducer: s.manifest.ProducerID, metaSchema: "1", metaGrid: "3x2", metaLibrary: "onnxruntime 1"} {
		if got, _ := meta.GetValue(key); got != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
	seen := 0
	for n := range file.NumRecords() {
		rec, err := file.Record(n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			if got := ofArrow(rec, i); got.text() != want[seen].text() {
				t.Fatalf("row %d is %s, want %s", seen, got.text(), want[seen].text())
			}
			seen++
		}
	}
	if seen != len(want) {
		t.Errorf("%d rows of %d", seen, len(want))
	}
}

func TestWeReadWhatArrowWrites(t *testing.T) {
	want := jittered(21)
	for name, options := range map[string][]ipc.Option{"zstd": {ipc.WithZstd()}, "plain": nil} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			addTheirs(t, s, want, options)
			x, err := s.Index()
			if err != nil || x.Rows != len(want) {
				t.Fatalf("%+v, %v", x, err)
			}
			var b Batch
			seen := 0
			for _, ref := range x.Batches {
				if err := s.Reader().ReadBatch(ref, &b); err != nil {
					t.Fatal(err)
				}
				for i := range b.Rows {
					if got := ofBatch(&b, i); got.text() != want[seen].text() {
						t.Fatalf("row %d is %s, want %s", seen, got.text(), want[seen].text())
					}
					seen++
				}
			}
			if report := verified(t, s); len(report.Problems) > 0 || seen != len(want) {
				t.Errorf("%d rows, %+v", seen, report)
			}
		})
	}
}

// addTheirs puts a shard into a store that Arrow's package wrote, in batches of eight rows, without a sidecar.
func addTheirs(t *testing.T, s *Store, rows []*Row, options []ipc.Option) {
	t.Helper()
	schema := s.manifest.schema("theirs")
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := ipc.NewFileWriter(f, append(options, ipc.WithSchema(schema))...)
	if err != nil {
		t.Fatal(err)
	}
	for batch := range slices.Chunk(rows, 8) {
		if err := w.Write(theirRecord(schema, batch)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.shardPath(fmt.Sprintf("%x", sha256.Sum256(raw))), raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// theirRecord builds a record with Arrow's builders.
func theirRecord(schema *arrow.Schema, rows []*Row) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	crop, jitter := b.Field(colCrop).(*array.FixedSizeListBuilder), b.Field(colJitter).(*array.ListBuilder)
	for _, r := range rows {
		b.Field(colKey).(*array.StringBuilder).Append(r.Key)
		b.Field(colImage).(*array.FixedSizeBinaryBuilder).Append(r.Image[:])
		b.Field(colView).(*array.Uint16Builder).Append(r.Identity.View)
		crop.Append(true)
		crop.ValueBuilder().(*array.Int32Builder).AppendValues([]int32{r.View.X, r.View.Y, r.View.W, r.View.H}, nil)
		b.Field(colFlip).(*array.BooleanBuilder).Append(r.View.Flip)
		if jitter.Append(r.View.Jitter != nil); r.View.Jitter != nil {
			jitter.ValueBuilder().(*array.Float32Builder).AppendValues(r.View.Jitter, nil)
		}
		if label := b.Field(colLabel).(*array.Int32Builder); r.Label < 0 {
			label.AppendNull()
		} else {
			label.Append(r.Label)
		}
		b.Field(colPatches).(*array.FixedSizeListBuilder).Append(true)
		b.Field(testCLS).(*array.FixedSizeListBuilder).Append(true)
	}
	rec := b.NewRecord()
	columns := slices.Clone(rec.Columns())
	var patches, cls []uint16
	for _, r := range rows {
		patches, cls = append(patches, r.Patches...), append(cls, r.CLS...)
	}
	columns[colPatches] = halfLists(schema.Field(colPatches).Type, len(rows), patches)
	columns[testCLS] = halfLists(schema.Field(testCLS).Type, len(rows), cls)
	return array.NewRecord(schema, columns, int64(len(rows)))
}

// halfLists views float16 bits as an array of fixed-size lists: Arrow's own float16 builder rounds.
func halfLists(t arrow.DataType, rows int, bits []uint16) arrow.Array {
	values := array.NewData(arrow.FixedWidthTypes.Float16, len(bits), []*memory.Buffer{nil, memory.NewBufferBytes(bytesOf(bits))}, nil, 0, 0)
	return array.NewFixedSizeListData(array.NewData(t, rows, []*memory.Buffer{nil}, []arrow.ArrayData{values}, 0, 0))
}
