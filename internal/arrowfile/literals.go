package arrowfile

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/klauspost/compress/huff0"
)

// minGain is the share of a block that coding must save for it to be coded, as a power of two: below 1/32 a reader is better off with
// the bytes as they are.
const minGain = 5

var coders = sync.Pool{New: func() any {
	return &huff0.Scratch{MaxSymbolValue: 255, TableLog: tableLog, Reuse: huff0.ReusePolicyNone, WantLogLess: minGain}
}}

// compressLiterals appends src as a zstd frame in which nothing but the frequencies of bytes is made use of: what decodeLiterals takes,
// and every zstd decoder. For features, in which nothing repeats, no other frame is much shorter.
func compressLiterals(dst, src []byte) []byte {
	s := coders.Get().(*huff0.Scratch)
	defer coders.Put(s)
	dst = binary.LittleEndian.AppendUint32(dst, frameMagic)
	dst = append(dst, 0xa0) // single segment, four bytes of size
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
	for first := true; first || len(src) > 0; first = false {
		block := src[:min(len(src), maxBlock)]
		src = src[len(block):]
		dst = appendBlock(dst, block, len(src) == 0, s)
	}
	return dst
}

// appendBlock appends a block of a frame: its Huffman codes, one byte for all, or the bytes as they are.
func appendBlock(dst, block []byte, last bool, s *huff0.Scratch) []byte {
	header := func(kind, size int) {
		v := size<<3 | kind<<1
		if last {
			v |= 1
		}
		dst = append(dst, byte(v), byte(v>>8), byte(v>>16))
	}
	if len(block) < 1024 { // four streams are not worth their table
		header(0, len(block))
		return append(dst, block...)
	}
	codes, _, err := huff0.Compress4X(block, s)
	switch {
	case errors.Is(err, huff0.ErrUseRLE):
		header(1, len(block))
		return append(dst, block[0])
	case err != nil: // not compressible
		header(0, len(block))
		return append(dst, block...)
	}
	const head = 5 // literals in four streams with a tree, sizes of 18 bits
	header(2, head+len(codes)+1)
	v := uint64(2|3<<2) | uint64(len(block))<<4 | uint64(len(codes))<<22
	dst = append(dst, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32))
	return append(append(dst, codes...), 0) // no sequences
}
