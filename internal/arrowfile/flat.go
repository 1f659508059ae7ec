package arrowfile

import (
	"encoding/binary"
	"errors"
)

// errFlat is what every access outside of the buffer gives.
var errFlat = errors.New("damaged FlatBuffers metadata")

// flat reads FlatBuffers tables. A position or size that leads outside of buf sets err and yields zero from then on, so that
// a whole table can be read before err is looked at.
type flat struct {
	buf []byte
	err error
}

// bytes gives n bytes at pos.
func (f *flat) bytes(pos, n int) []byte {
	if f.err != nil || pos < 0 || n < 0 || pos > len(f.buf)-n {
		f.err = errFlat
		return nil
	}
	return f.buf[pos : pos+n]
}

func (f *flat) u8(pos int) uint8 {
	if b := f.bytes(pos, 1); b != nil {
		return b[0]
	}
	return 0
}

func (f *flat) u16(pos int) uint16 {
	if b := f.bytes(pos, 2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (f *flat) i32(pos int) int32 {
	if b := f.bytes(pos, 4); b != nil {
		return int32(binary.LittleEndian.Uint32(b))
	}
	return 0
}

func (f *flat) i64(pos int) int64 {
	if b := f.bytes(pos, 8); b != nil {
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// ref follows the unsigned offset at pos.
func (f *flat) ref(pos int) int {
	b := f.bytes(pos, 4)
	if b == nil {
		return 0
	}
	return pos + int(binary.LittleEndian.Uint32(b))
}

// slot is the position of field n of a table, or 0 where the table leaves it at its default.
func (f *flat) slot(table, n int) int {
	vtable := table - int(f.i32(table))
	size := int(f.u16(vtable))
	if at := 4 + 2*n; f.err == nil && at+2 <= size {
		if off := int(f.u16(vtable + at)); off != 0 {
			return table + off
		}
	}
	return 0
}

// vector is the position of the first element and the count of the vector in field n, whose elements take size bytes.
func (f *flat) vector(table, n, size int) (pos, count int) {
	at := f.slot(table, n)
	if at == 0 {
		return 0, 0
	}
	pos = f.ref(at)
	count = int(f.i32(pos))
	if f.err != nil || count < 0 || count > len(f.buf)/size {
		f.err = errFlat
		return 0, 0
	}
	pos += 4
	if f.bytes(pos, count*size); f.err != nil {
		return 0, 0
	}
	return pos, count
}

// text is the string in field n.
func (f *flat) text(table, n int) string {
	pos, count := f.vector(table, n, 1)
	return string(f.bytes(pos, count))
}

// scalars of a table with their defaults.

func (f *flat) int16Slot(table, n int, def int16) int16 {
	if at := f.slot(table, n); at != 0 {
		return int16(f.u16(at))
	}
	return def
}

func (f *flat) int32Slot(table, n int) int32 {
	if at := f.slot(table, n); at != 0 {
		return f.i32(at)
	}
	return 0
}

func (f *flat) int64Slot(table, n int) int64 {
	if at := f.slot(table, n); at != 0 {
		return f.i64(at)
	}
	return 0
}

func (f *flat) byteSlot(table, n int) uint8 {
	if at := f.slot(table, n); at != 0 {
		return f.u8(at)
	}
	return 0
}

// tableSlot is the position of the table in field n, or 0.
func (f *flat) tableSlot(table, n int) int {
	if at := f.slot(table, n); at != 0 {
		return f.ref(at)
	}
	return 0
}
