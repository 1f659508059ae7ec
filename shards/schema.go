package shards

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"mvptargets/shards/view"
)

// Names of the columns of a shard, in order; cls only where the teacher has one.
const (
	colKey     = "key"
	colImage   = "image_sha256"
	colView    = "view"
	colCrop    = "crop"
	colFlip    = "flip"
	colJitter  = "jitter"
	colLabel   = "label"
	colPatches = "patches"
	colCLS     = "cls"
)

// Keys of a shard's metadata, so that a sidecar can be made again from the shard alone.
const (
	metaProducer = "mvp.producer_id"
	metaSchema   = "mvp.schema"
	metaGrid     = "mvp.grid"
	metaLibrary  = "mvp.library"
)

// schema is that of a shard of m; library tells which provider and versions computed it.
func (m Manifest) schema(library string) *arrow.Schema {
	fields := []arrow.Field{
		{Name: colKey, Type: arrow.BinaryTypes.String},
		{Name: colImage, Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}},
		{Name: colView, Type: arrow.PrimitiveTypes.Uint16},
		{Name: colCrop, Type: arrow.FixedSizeListOf(4, arrow.PrimitiveTypes.Int32)},
		{Name: colFlip, Type: arrow.FixedWidthTypes.Boolean},
		{Name: colJitter, Type: arrow.ListOf(arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: colLabel, Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: colPatches, Type: arrow.FixedSizeListOf(int32(m.Patches()*m.Dim), arrow.FixedWidthTypes.Float16)},
	}
	if m.CLS {
		fields = append(fields, arrow.Field{Name: colCLS, Type: arrow.FixedSizeListOf(int32(m.Dim), arrow.FixedWidthTypes.Float16)})
	}
	meta := arrow.MetadataFrom(map[string]string{metaProducer: m.ProducerID, metaSchema: strconv.Itoa(Schema),
		metaGrid: fmt.Sprintf("%dx%d", m.Grid[0], m.Grid[1]), metaLibrary: library})
	return arrow.NewSchema(fields, &meta)
}

// pending is a record batch being filled: copies of rows of one view.
type pending struct {
	rows    []Row
	patches []uint16
	cls     []uint16
}

func (p *pending) add(r *Row) {
	c := *r
	c.Patches, c.CLS = nil, nil
	p.rows = append(p.rows, c)
	p.patches = append(p.patches, r.Patches...)
	p.cls = append(p.cls, r.CLS...)
}

func (p *pending) reset() { p.rows, p.patches, p.cls = p.rows[:0], p.patches[:0], p.cls[:0] }

// record makes the Arrow record of p; it views p's features, so it must be written before p changes.
func (p *pending) record(schema *arrow.Schema) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(schema.Fields()[:7], nil))
	defer b.Release()
	crop := b.Field(3).(*array.FixedSizeListBuilder)
	jitter := b.Field(5).(*array.ListBuilder)
	for i := range p.rows {
		r := &p.rows[i]
		b.Field(0).(*array.StringBuilder).Append(r.Key)
		b.Field(1).(*array.FixedSizeBinaryBuilder).Append(r.Image[:])
		b.Field(2).(*array.Uint16Builder).Append(r.Identity.View)
		crop.Append(true)
		crop.ValueBuilder().(*array.Int32Builder).AppendValues([]int32{r.View.X, r.View.Y, r.View.W, r.View.H}, nil)
		b.Field(4).(*array.BooleanBuilder).Append(r.View.Flip)
		if jitter.Append(r.View.Jitter != nil); r.View.Jitter != nil {
			jitter.ValueBuilder().(*array.Float32Builder).AppendValues(r.View.Jitter, nil)
		}
		if label := b.Field(6).(*array.Int32Builder); r.Label < 0 {
			label.AppendNull()
		} else {
			label.Append(r.Label)
		}
	}
	small := b.NewRecord()
	defer small.Release()
	columns := append([]arrow.Array(nil), small.Columns()...)
	columns = append(columns, halfLists(schema.Field(7).Type, len(p.rows), p.patches))
	if schema.NumFields() > 8 {
		columns = append(columns, halfLists(schema.Field(8).Type, len(p.rows), p.cls))
	}
	return array.NewRecord(schema, columns, int64(len(p.rows)))
}

// halfLists views float16 bits as an array of fixed-size lists.
func halfLists(t arrow.DataType, rows int, bits []uint16) arrow.Array {
	values := array.NewData(arrow.FixedWidthTypes.Float16, len(bits), []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Uint16Traits.CastToBytes(bits))}, nil, 0, 0)
	return array.NewFixedSizeListData(array.NewData(t, rows, []*memory.Buffer{nil}, []arrow.ArrayData{values}, 0, 0))
}

// Batch is a decoded record batch: Rows views, features row-major [Rows, P, D].
type Batch struct {
	Rows    int
	Key     []string
	Image   [][32]byte
	View    []view.View
	Label   []int32 // -1 for none
	Patches []uint16
	CLS     []uint16 // [Rows, D]; nil where there is none
}

// fill copies rec into b. Its schema has been compared with the store's, its lengths are checked here.
func (b *Batch) fill(rec arrow.Record, m Manifest) (err error) {
	n := int(rec.NumRows())
	*b = Batch{Rows: n, Key: b.Key[:0], Image: b.Image[:0], View: b.View[:0], Label: b.Label[:0], Patches: b.Patches[:0], CLS: b.CLS[:0]}
	crop := rec.Column(3).(*array.FixedSizeList).ListValues().(*array.Int32).Int32Values()
	jitter := rec.Column(5).(*array.List)
	label := rec.Column(6).(*array.Int32)
	if len(crop) < 4*n {
		return fmt.Errorf("column %s is short", colCrop)
	}
	for i := range n {
		b.Key = append(b.Key, rec.Column(0).(*array.String).Value(i))
		b.Image = append(b.Image, [32]byte(rec.Column(1).(*array.FixedSizeBinary).Value(i)))
		v := view.View{Index: rec.Column(2).(*array.Uint16).Value(i), X: crop[4*i], Y: crop[4*i+1], W: crop[4*i+2], H: crop[4*i+3],
			Flip: rec.Column(4).(*array.Boolean).Value(i)}
		if jitter.IsValid(i) {
			from, to := jitter.ValueOffsets(i)
			v.Jitter = append([]float32{}, jitter.ListValues().(*array.Float32).Float32Values()[from:to]...)
		}
		b.View = append(b.View, v)
		if label.IsValid(i) {
			b.Label = append(b.Label, label.Value(i))
		} else {
			b.Label = append(b.Label, -1)
		}
	}
	if b.Patches, err = appendHalf(b.Patches, rec, 7, n*m.Patches()*m.Dim); err != nil {
		return err
	}
	if m.CLS {
		b.CLS, err = appendHalf(b.CLS, rec, 8, n*m.Dim)
	} else {
		b.CLS = nil
	}
	return err
}

func appendHalf(dst []uint16, rec arrow.Record, column, want int) ([]uint16, error) {
	data := rec.Column(column).(*array.FixedSizeList).ListValues().Data()
	raw := data.Buffers()[1]
	if raw == nil || data.Offset() != 0 || raw.Len() < 2*want {
		return nil, fmt.Errorf("column %s is short", rec.ColumnName(column))
	}
	return append(dst, arrow.Uint16Traits.CastFromBytes(raw.Bytes()[:2*want])...), nil
}
