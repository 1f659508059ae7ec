package arrowfile

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// For buffers that are not noisy the fastest matcher is good enough: they are small beside features. Frames carry no checksum: the
// digest that a store keeps of each message covers them. One coder is enough: each keeps some 10 MiB once it has seen a sidecar.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic("arrowfile: zstd options: " + err.Error())
	}
	return e
})

// The decoder never writes beyond the capacity it is given.
var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("arrowfile: zstd options: " + err.Error())
	}
	return d
})

// compress appends src as a zstd frame to dst.
func compress(dst, src []byte) []byte { return encoder().EncodeAll(src, dst) }

// decompress fills dst with the content of the frames in src, which must be as long as dst.
func decompress(dst, src []byte) error {
	if len(dst) > 0 && decodeLiterals(dst, src) {
		return nil
	}
	return decompressAny(dst, src)
}

// decompressAny is decompress by the zstd package.
func decompressAny(dst, src []byte) error {
	out, err := decoder().DecodeAll(src, dst[:0:len(dst)])
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	if len(out) != len(dst) {
		return fmt.Errorf("zstd: %d bytes where %d were announced", len(out), len(dst))
	}
	return nil
}
