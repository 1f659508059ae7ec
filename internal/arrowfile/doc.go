// Package arrowfile writes and reads Arrow IPC files with zstd buffers, for schemas of flat and list columns.
//
// It is the part of the Arrow columnar format (version 5 of the metadata) that a target store needs, so that the store can
// choose the compression, keep its coders between batches, and read hostile files: a reader here checks every offset and
// size before it is used and before anything is allocated, and returns an error where a file lies.
//
// A file is, all little-endian:
//
//	"ARROW1" 0 0
//	message: the schema
//	message: a record batch    any number of them
//	end:     ff ff ff ff 00 00 00 00
//	footer:  FlatBuffers table with the schema and the place of each batch, its length as int32, "ARROW1"
//
// and a message is
//
//	ff ff ff ff, int32 length of the metadata with its padding
//	metadata: FlatBuffers table Message, padded so that the body starts at a multiple of 8
//	body:     the buffers, each padded to a multiple of 8
//
// A compressed buffer is its uncompressed length as int64, then a zstd frame; the length -1 says that the bytes behind it are
// not compressed. Source: "Arrow Columnar Format", sections "Serialization and Interprocess Communication" and "Compression",
// and the FlatBuffers schemas Schema.fbs, Message.fbs and File.fbs of Apache Arrow.
package arrowfile
