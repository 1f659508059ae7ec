package shards

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

var errMessage = errors.New("damaged Arrow message")

// messageEnd is where the Arrow message that starts at offset ends: eight bytes of continuation mark and metadata length, the
// metadata, the body, whose length the metadata says (Arrow columnar format, "Encapsulated message format").
func messageEnd(file []byte, offset int64) (int64, error) {
	if offset+8 > int64(len(file)) || binary.LittleEndian.Uint32(file[offset:]) != 0xffffffff {
		return 0, fmt.Errorf("%w at byte %d", errMessage, offset)
	}
	n := int64(int32(binary.LittleEndian.Uint32(file[offset+4:])))
	if n < 8 || offset+8+n > int64(len(file)) {
		return 0, fmt.Errorf("%w at byte %d", errMessage, offset)
	}
	body, err := bodyLength(file[offset+8 : offset+8+n])
	if err != nil || body > 1<<40 {
		return 0, fmt.Errorf("%w at byte %d", errMessage, offset)
	}
	return offset + 8 + n + body, nil
}

// bodyLength reads field 3 of the FlatBuffers table Message: an int64 whose place the table's vtable gives; absent means 0.
func bodyLength(meta []byte) (int64, error) {
	at := func(pos int64, size int64) ([]byte, bool) {
		if pos < 0 || pos+size > int64(len(meta)) {
			return nil, false
		}
		return meta[pos : pos+size], true
	}
	root, ok := at(0, 4)
	if !ok {
		return 0, errMessage
	}
	table := int64(binary.LittleEndian.Uint32(root))
	back, ok := at(table, 4)
	if !ok {
		return 0, errMessage
	}
	vtable := table - int64(int32(binary.LittleEndian.Uint32(back)))
	size, ok := at(vtable, 2)
	if !ok {
		return 0, errMessage
	}
	const slot = 4 + 2*3
	if binary.LittleEndian.Uint16(size) < slot+2 {
		return 0, nil
	}
	field, ok := at(vtable+slot, 2)
	if !ok {
		return 0, errMessage
	}
	place := int64(binary.LittleEndian.Uint16(field))
	if place == 0 {
		return 0, nil
	}
	value, ok := at(table+place, 8)
	if !ok || int64(binary.LittleEndian.Uint64(value)) < 0 {
		return 0, errMessage
	}
	return int64(binary.LittleEndian.Uint64(value)), nil
}

func sortedKeys[V any](m map[uint16]V) []uint16 {
	keys := make([]uint16, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	return keys
}
