package shards

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
)

// Columns of a shard in their order. Behind them stand patch_scale, where features are int8, and cls, where the teacher has one.
const (
	colKey = iota
	colImage
	colView
	colCrop
	colFlip
	colJitter
	colLabel
	colPatches
	colAfterPatches
)

// colScale and colCLS are the numbers of columns that not every store has.
const colScale = colAfterPatches

func (m Manifest) colCLS() int {
	if m.Producer.Encoding == EncodingI8 {
		return colAfterPatches + 1
	}
	return colAfterPatches
}

// Keys of a file's metadata. Those of a shard are enough to make its sidecar again.
const (
	metaProducer = "mvp.producer_id"
	metaSchema   = "mvp.schema"
	metaGrid     = "mvp.grid"
	metaLibrary  = "mvp.library"
	metaShard    = "mvp.shard_bytes" // of a sidecar: the size of its shard
	metaRows     = "mvp.rows_xxh3"   // of a sidecar: the digest of its own record batch
)

// metadata makes Arrow metadata from pairs, in their order.
func metadata(pairs ...string) *arrow.Metadata {
	var keys, values []string
	for i := 0; i < len(pairs); i += 2 {
		keys, values = append(keys, pairs[i]), append(values, pairs[i+1])
	}
	m := arrow.NewMetadata(keys, values)
	return &m
}

// schema is that of a shard of m; library tells which provider and versions computed it.
func (m Manifest) schema(library string) *arrow.Schema {
	fields := []arrow.Field{
		colKey:     {Name: "key", Type: arrow.BinaryTypes.String},
		colImage:   {Name: "image_sha256", Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}},
		colView:    {Name: "view", Type: arrow.PrimitiveTypes.Uint16},
		colCrop:    {Name: "crop", Type: arrow.FixedSizeListOf(4, arrow.PrimitiveTypes.Int32)},
		colFlip:    {Name: "flip", Type: arrow.FixedWidthTypes.Boolean},
		colJitter:  {Name: "jitter", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32), Nullable: true},
		colLabel:   {Name: "label", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		colPatches: {Name: "patches", Type: arrow.FixedSizeListOf(int32(m.Patches()*m.Dim), arrow.FixedWidthTypes.Float16)},
	}
	if m.Producer.Encoding == EncodingI8 {
		fields[colPatches].Type = arrow.FixedSizeListOf(int32(m.Patches()*m.Dim), arrow.PrimitiveTypes.Int8)
		fields = append(fields, arrow.Field{Name: "patch_scale", Type: arrow.FixedSizeListOf(int32(m.Patches()), arrow.PrimitiveTypes.Float32)})
	}
	if m.CLS {
		fields = append(fields, arrow.Field{Name: "cls", Type: arrow.FixedSizeListOf(int32(m.Dim), arrow.FixedWidthTypes.Float16)})
	}
	return arrow.NewSchema(fields, metadata(metaProducer, m.ProducerID, metaSchema, strconv.Itoa(m.Schema),
		metaGrid, fmt.Sprintf("%dx%d", m.Grid[0], m.Grid[1]), metaLibrary, library))
}

// check refuses a file whose columns are not those of want or that another producer made.
func (m Manifest) check(got, want *arrow.Schema) error {
	if !got.Equal(want) {
		return fmt.Errorf("its columns are not the store's:%s, want%s", columnsOf(got), columnsOf(want))
	}
	meta := got.Metadata()
	if id, _ := meta.GetValue(metaProducer); id != m.ProducerID {
		return fmt.Errorf("made by producer %.12s, the store's is %.12s", id, m.ProducerID)
	}
	if v, _ := meta.GetValue(metaSchema); v != strconv.Itoa(m.Schema) {
		return fmt.Errorf("schema version %s, the store's is %d", v, m.Schema)
	}
	return nil
}

// columnsOf lists columns on one line.
func columnsOf(s *arrow.Schema) (text string) {
	for _, f := range s.Fields() {
		text += fmt.Sprintf(" %s %s", f.Name, f.Type)
	}
	return text
}

// RowBytes is what the features of a row take, uncompressed.
func (m Manifest) RowBytes() int64 {
	n := 2 * m.Patches() * m.Dim
	if m.Producer.Encoding == EncodingI8 {
		n = m.Patches() * (m.Dim + 4)
	}
	if m.CLS {
		n += 2 * m.Dim
	}
	return int64(n)
}

// decodedBytes is what the features of a row take in a Batch.
func (m Manifest) decodedBytes() int64 { return 2 * int64(m.Patches()+1) * int64(m.Dim) }

// batchRows is how many rows a Writer may put into one batch.
func (m Manifest) batchRows() int {
	return int(min(maxTextBytes/MaxKeyBytes, maxBatchBytes/2/m.decodedBytes()))
}
