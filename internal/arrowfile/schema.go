package arrowfile

import (
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	flatbuffers "github.com/google/flatbuffers/go"
)

// Numbers of the FlatBuffers schemas.
const (
	metadataV4 = 3
	metadataV5 = 4

	headerSchema = 1
	headerBatch  = 3

	typeInt             = 2
	typeFloatingPoint   = 3
	typeBinary          = 4
	typeUtf8            = 5
	typeBool            = 6
	typeList            = 12
	typeFixedSizeBinary = 15
	typeFixedSizeList   = 16

	precisionHalf   = 0
	precisionSingle = 1

	codecZstd = 1
)

// Bounds of a schema that is read.
const (
	maxFields = 256
	maxDepth  = 4
)

// putSchema writes the table Schema.
func putSchema(b *flatbuffers.Builder, s *arrow.Schema) (flatbuffers.UOffsetT, error) {
	fields := make([]flatbuffers.UOffsetT, s.NumFields())
	for i, f := range s.Fields() {
		var err error
		if fields[i], err = putField(b, f); err != nil {
			return 0, err
		}
	}
	list := putOffsets(b, fields)
	meta := putMetadata(b, s.Metadata())
	b.StartObject(4)
	b.PrependUOffsetTSlot(1, list, 0)
	b.PrependUOffsetTSlot(2, meta, 0)
	return b.EndObject(), nil
}

func putOffsets(b *flatbuffers.Builder, offsets []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	b.StartVector(4, len(offsets), 4)
	for i := len(offsets) - 1; i >= 0; i-- {
		b.PrependUOffsetT(offsets[i])
	}
	return b.EndVector(len(offsets))
}

// putMetadata writes key and value pairs in their order; 0 stands for none.
func putMetadata(b *flatbuffers.Builder, m arrow.Metadata) flatbuffers.UOffsetT {
	if m.Len() == 0 {
		return 0
	}
	pairs := make([]flatbuffers.UOffsetT, m.Len())
	for i, key := range m.Keys() {
		k, v := b.CreateString(key), b.CreateString(m.Values()[i])
		b.StartObject(2)
		b.PrependUOffsetTSlot(0, k, 0)
		b.PrependUOffsetTSlot(1, v, 0)
		pairs[i] = b.EndObject()
	}
	return putOffsets(b, pairs)
}

func putField(b *flatbuffers.Builder, f arrow.Field) (flatbuffers.UOffsetT, error) {
	var children []flatbuffers.UOffsetT
	if t, ok := f.Type.(arrow.ListLikeType); ok {
		child, err := putField(b, t.ElemField())
		if err != nil {
			return 0, err
		}
		children = append(children, child)
	}
	name := b.CreateString(f.Name)
	kids := putOffsets(b, children)
	kind, typ, err := putType(b, f.Type)
	if err != nil {
		return 0, fmt.Errorf("column %s: %w", f.Name, err)
	}
	b.StartObject(7)
	b.PrependUOffsetTSlot(0, name, 0)
	b.PrependBoolSlot(1, f.Nullable, false)
	b.PrependByteSlot(2, kind, 0)
	b.PrependUOffsetTSlot(3, typ, 0)
	b.PrependUOffsetTSlot(5, kids, 0)
	return b.EndObject(), nil
}

// putType writes the table of a type and says which of the union it is.
func putType(b *flatbuffers.Builder, t arrow.DataType) (byte, flatbuffers.UOffsetT, error) {
	start := func(slots int) { b.StartObject(slots) }
	end := func(kind byte) (byte, flatbuffers.UOffsetT, error) { return kind, b.EndObject(), nil }
	switch t := t.(type) {
	case *arrow.BooleanType:
		start(0)
		return end(typeBool)
	case *arrow.Uint16Type, *arrow.Int8Type, *arrow.Int32Type, *arrow.Int64Type:
		start(2)
		b.PrependInt32Slot(0, int32(t.(arrow.FixedWidthDataType).BitWidth()), 0)
		b.PrependBoolSlot(1, t.ID() != arrow.UINT16, false)
		return end(typeInt)
	case *arrow.Float16Type:
		start(1)
		b.PrependInt16Slot(0, precisionHalf, 0)
		return end(typeFloatingPoint)
	case *arrow.Float32Type:
		start(1)
		b.PrependInt16Slot(0, precisionSingle, 0)
		return end(typeFloatingPoint)
	case *arrow.StringType:
		start(0)
		return end(typeUtf8)
	case *arrow.BinaryType:
		start(0)
		return end(typeBinary)
	case *arrow.FixedSizeBinaryType:
		start(1)
		b.PrependInt32Slot(0, int32(t.ByteWidth), 0)
		return end(typeFixedSizeBinary)
	case *arrow.FixedSizeListType:
		start(1)
		b.PrependInt32Slot(0, t.Len(), 0)
		return end(typeFixedSizeList)
	case *arrow.ListType:
		start(0)
		return end(typeList)
	}
	return 0, 0, fmt.Errorf("columns of type %s are not supported", t)
}

// getSchema reads the table Schema at pos.
func getSchema(f *flat, pos int) (*arrow.Schema, error) {
	if f.int16Slot(pos, 0, 0) != 0 {
		return nil, fmt.Errorf("numbers are big-endian")
	}
	budget := maxFields
	at, n := f.vector(pos, 1, 4)
	fields := make([]arrow.Field, 0, min(n, maxFields))
	for i := range n {
		field, err := getField(f, f.ref(at+4*i), maxDepth, &budget)
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
	}
	meta := getMetadata(f, pos)
	if f.err != nil {
		return nil, f.err
	}
	return arrow.NewSchema(fields, &meta), nil
}

func getMetadata(f *flat, schema int) arrow.Metadata {
	at, n := f.vector(schema, 2, 4)
	var keys, values []string
	for i := 0; i < min(n, maxFields) && f.err == nil; i++ {
		pair := f.ref(at + 4*i)
		keys, values = append(keys, f.text(pair, 0)), append(values, f.text(pair, 1))
	}
	return arrow.NewMetadata(keys, values)
}

// getField reads the table Field at pos. budget bounds the fields of a schema whose tables refer to each other.
func getField(f *flat, pos, depth int, budget *int) (arrow.Field, error) {
	if *budget--; *budget < 0 || depth == 0 {
		return arrow.Field{}, fmt.Errorf("the schema has too many columns")
	}
	name := f.text(pos, 0)
	at, n := f.vector(pos, 5, 4)
	var child arrow.Field
	if n == 1 {
		var err error
		if child, err = getField(f, f.ref(at), depth-1, budget); err != nil {
			return child, err
		}
	}
	if f.slot(pos, 4) != 0 {
		return arrow.Field{}, fmt.Errorf("column %q is dictionary-encoded, which is not supported", name)
	}
	nullable := f.byteSlot(pos, 1) != 0
	t, err := getType(f, f.byteSlot(pos, 2), f.tableSlot(pos, 3), child)
	if err == nil {
		err = f.err
	}
	if err != nil {
		return arrow.Field{}, fmt.Errorf("column %q: %w", name, err)
	}
	return arrow.Field{Name: name, Type: t, Nullable: nullable}, nil
}

func getType(f *flat, kind uint8, pos int, child arrow.Field) (arrow.DataType, error) {
	switch kind {
	case typeBool:
		return arrow.FixedWidthTypes.Boolean, nil
	case typeUtf8:
		return arrow.BinaryTypes.String, nil
	case typeBinary:
		return arrow.BinaryTypes.Binary, nil
	case typeInt:
		return intType(f.int32Slot(pos, 0), f.byteSlot(pos, 1) != 0)
	case typeFloatingPoint:
		switch f.int16Slot(pos, 0, precisionHalf) {
		case precisionHalf:
			return arrow.FixedWidthTypes.Float16, nil
		case precisionSingle:
			return arrow.PrimitiveTypes.Float32, nil
		}
	case typeFixedSizeBinary:
		if n := f.int32Slot(pos, 0); n > 0 {
			return &arrow.FixedSizeBinaryType{ByteWidth: int(n)}, nil
		}
	case typeFixedSizeList:
		if n := f.int32Slot(pos, 0); n > 0 && child.Type != nil {
			return arrow.FixedSizeListOfField(n, child), nil
		}
	case typeList:
		if child.Type != nil {
			return arrow.ListOfField(child), nil
		}
	}
	return nil, fmt.Errorf("columns of Arrow type %d are not supported", kind)
}

func intType(bits int32, signed bool) (arrow.DataType, error) {
	switch {
	case bits == 16 && !signed:
		return arrow.PrimitiveTypes.Uint16, nil
	case bits == 8 && signed:
		return arrow.PrimitiveTypes.Int8, nil
	case bits == 32 && signed:
		return arrow.PrimitiveTypes.Int32, nil
	case bits == 64 && signed:
		return arrow.PrimitiveTypes.Int64, nil
	}
	return nil, fmt.Errorf("integers of %d bits (signed: %v) are not supported", bits, signed)
}

// Layout counts the nodes and buffers of a record batch, in the depth-first order of the format.
type Layout struct {
	Nodes, Buffers int
	Node, Buffer   []int // first of each column
}

// LayoutOf is the layout of a schema's record batches.
func LayoutOf(s *arrow.Schema) Layout {
	var l Layout
	for _, f := range s.Fields() {
		l.Node, l.Buffer = append(l.Node, l.Nodes), append(l.Buffer, l.Buffers)
		l.add(f.Type)
	}
	return l
}

func (l *Layout) add(t arrow.DataType) {
	l.Nodes++
	switch t := t.(type) {
	case *arrow.StringType, *arrow.BinaryType: // validity, offsets, bytes
		l.Buffers += 3
	case *arrow.ListType: // validity, offsets
		l.Buffers += 2
		l.add(t.Elem())
	case *arrow.FixedSizeListType: // validity
		l.Buffers++
		l.add(t.Elem())
	default: // validity, values
		l.Buffers += 2
	}
}
