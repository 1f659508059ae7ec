package arrowfile

/*
#cgo CFLAGS: -O3
#include <stdint.h>
#include <string.h>

#define TABLE_LOG 11

// A block: four streams of src, read from their ends, into four pieces of dst.
typedef struct {
	int64_t start[4], end[4]; // of the streams in src
	int64_t dst, piece, size; // where the block starts, what the first three streams fill, what all fill
} block;

typedef struct {
	const uint8_t *ip, *start;
	uint8_t *op, *stop;
	uint64_t bits;
} stream;

#ifdef __x86_64__
static int have_bmi2(void) { return __builtin_cpu_supports("bmi2"); }

static inline uint64_t load64(const uint8_t *p) {
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}

// The unread bits of a stream stand at the top of bits, read from ip; a one below them marks how many were used: as many as there are
// zeros below it. The highest one of the last byte marks the end of the stream.
static inline int begin(stream *s, const uint8_t *start, const uint8_t *end, uint8_t *op, uint8_t *stop) {
	if (end - start < 8 || end[-1] == 0) return 0;
	s->start = start, s->ip = end - 8, s->op = op, s->stop = stop;
	s->bits = (load64(s->ip) | 1) << (__builtin_clz(end[-1]) - 23);
	return 1;
}

// The rest of a stream, symbol by symbol. All of its bits must be used.
static inline int finish(stream *s, const uint8_t *end, const uint16_t *table) {
	int64_t left = (s->ip - s->start) * 8 + 64 - __builtin_ctzll(s->bits);
	while (s->op < s->stop) {
		int64_t low = left - TABLE_LOG, at = low < 0 ? 0 : low >> 3;
		uint32_t v = 0;
		int64_t have = end - s->start - at;
		memcpy(&v, s->start + at, have < 4 ? have : 4);
		v = low < 0 ? v << -low : v >> (low & 7);
		uint16_t e = table[v & ((1 << TABLE_LOG) - 1)];
		*s->op++ = e >> 8;
		if ((left -= e & 63) < 0) return 0;
	}
	return left == 0;
}

// Decodes n streams in turns, five symbols of each between two refills: those take 55 bits at most, so 64 suffice.
__attribute__((target("bmi2"), always_inline)) static inline int streams(stream *s, const uint8_t *const *end, const uint16_t *const *table, const int n) {
	for (;;) {
		int64_t turns = INT64_MAX;
		for (int i = 0; i < n; i++) {
			int64_t in = (s[i].ip - s[i].start) / 7, out = (s[i].stop - s[i].op) / 5;
			if (in < turns) turns = in;
			if (out < turns) turns = out;
		}
		if (turns == 0) break;
		uint64_t bits[8];
		const uint8_t *ip[8];
		uint8_t *op[8];
		for (int i = 0; i < n; i++) bits[i] = s[i].bits, ip[i] = s[i].ip, op[i] = s[i].op;
		int64_t at = 0;
		for (int64_t t = 0; t < turns; t++) {
#pragma GCC unroll 5
			for (int k = 0; k < 5; k++) {
#pragma GCC unroll 8
				for (int i = 0; i < n; i++) {
					uint16_t e = table[i >> 2][bits[i] >> (64 - TABLE_LOG)];
					bits[i] <<= e & 63;
					op[i][at + k] = e >> 8;
				}
			}
#pragma GCC unroll 8
			for (int i = 0; i < n; i++) {
				int used = __builtin_ctzll(bits[i]);
				ip[i] -= used >> 3;
				bits[i] = (load64(ip[i]) | 1) << (used & 7);
			}
			at += 5;
		}
		for (int i = 0; i < n; i++) s[i].bits = bits[i], s[i].ip = ip[i], s[i].op += at;
	}
	for (int i = 0; i < n; i++)
		if (!finish(&s[i], end[i], table[i >> 2])) return 0;
	return 1;
}

// Decodes one or two blocks, each with its table of 2^TABLE_LOG entries: the length of a code, and its symbol in the upper byte.
__attribute__((target("bmi2"))) static int blocks(uint8_t *dst, const uint8_t *src, const block *b, const uint16_t *tables, int n) {
	stream s[8];
	const uint8_t *end[8];
	const uint16_t *table[2] = {tables, tables + (1 << TABLE_LOG)};
	for (int i = 0; i < 4 * n; i++) {
		const block *c = &b[i >> 2];
		int k = i & 3;
		uint8_t *op = dst + c->dst + k * c->piece;
		end[i] = src + c->end[k];
		if (!begin(&s[i], src + c->start[k], end[i], op, k < 3 ? op + c->piece : dst + c->dst + c->size)) return 0;
	}
	return n == 2 ? streams(s, end, table, 8) : streams(s, end, table, 4);
}
#else
static int have_bmi2(void) { return 0; }
static int blocks(uint8_t *dst, const uint8_t *src, const block *b, const uint16_t *tables, int n) { return 0; }
#endif
*/
import "C"

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/fse"
)

// Features have no repeats worth finding, so what is left of zstd for them is Huffman coding of bytes, and reading a store is that and
// little else. decodeLiterals does it for frames of such blocks, two blocks at a time: their eight streams keep the processor busy, where
// the four of one block wait for each other. Everything else, and whatever looks odd, is left to the zstd package, which is also the twin
// in the tests. Source: RFC 8878, sections 3.1.1 and 4.2.

const (
	frameMagic = 0xfd2fb528
	tableLog   = 11
	maxBlock   = 128 << 10
)

var haveBMI2 = C.have_bmi2() != 0

// huffman is a decoder's memory.
type huffman struct {
	fse    fse.Scratch
	blocks [2]C.block
	tables [2][1 << tableLog]uint16
	n      int // blocks that wait
}

var huffmen = sync.Pool{New: func() any { return new(huffman) }}

// decodeLiterals fills dst from a frame of blocks that are raw, of one byte, or Huffman codes in four streams without sequences. It gives
// up on all others; dst is undefined then.
func decodeLiterals(dst, src []byte) bool {
	body, ok := frameBody(src, len(dst))
	if !ok || !haveBMI2 {
		return false
	}
	h := huffmen.Get().(*huffman)
	defer huffmen.Put(h)
	h.n = 0
	at := 0
	for last := false; !last; {
		if len(body) < 3 {
			return false
		}
		header := int(body[0]) | int(body[1])<<8 | int(body[2])<<16
		body = body[3:]
		size := header >> 3
		last = header&1 != 0
		switch header >> 1 & 3 {
		case 0:
			if size > len(body) || size > len(dst)-at {
				return false
			}
			at += copy(dst[at:], body[:size])
		case 1:
			if len(body) == 0 || size > len(dst)-at {
				return false
			}
			for i := range size {
				dst[at+i] = body[0]
			}
			at, size = at+size, 1
		case 2:
			if size > len(body) {
				return false
			}
			made := h.add(src, len(src)-len(body), body[:size], at, len(dst))
			if made == 0 || h.n == 2 && !h.run(dst, src) {
				return false
			}
			at += made
		default:
			return false
		}
		body = body[size:]
	}
	return at == len(dst) && len(body) == 0 && h.run(dst, src)
}

// frameBody checks that src is a frame without checksum and dictionary that announces size bytes, and gives its blocks.
func frameBody(src []byte, size int) ([]byte, bool) {
	if len(src) < 9 || binary.LittleEndian.Uint32(src) != frameMagic {
		return nil, false
	}
	var announced uint64
	body := src[5:]
	switch src[4] { // single segment; the length of the size
	case 0x20:
		announced, body = uint64(body[0]), body[1:]
	case 0x60:
		announced, body = uint64(binary.LittleEndian.Uint16(body))+256, body[2:]
	case 0xa0:
		announced, body = uint64(binary.LittleEndian.Uint32(body)), body[4:]
	default:
		return nil, false
	}
	return body, announced == uint64(size)
}

// add queues a compressed block, which starts at byte from of src and fills dst from at. It gives the bytes that the block will make, or 0.
func (h *huffman) add(src []byte, from int, b []byte, at, limit int) int {
	if len(b) < 5 || b[0]&3 != 2 {
		return 0
	}
	head, width := 3, 10
	switch b[0] >> 2 & 3 {
	case 0: // one stream
		return 0
	case 2:
		head, width = 4, 14
	case 3:
		head, width = 5, 18
	}
	v := (uint64(binary.LittleEndian.Uint32(b)) | uint64(b[4])<<32) >> 4
	size, compressed := int(v&(1<<width-1)), int(v>>width&(1<<width-1))
	if size < 6 || size > maxBlock || size > limit-at || head+compressed+1 != len(b) || b[len(b)-1] != 0 { // the 0: no sequences
		return 0
	}
	used := h.table(&h.tables[h.n], b[head:head+compressed])
	if used == 0 || compressed-used < 6 {
		return 0
	}
	c := &h.blocks[h.n]
	sizes, start := b[head+used:], int64(from+head+used+6)
	for i := range 4 {
		end := int64(from + head + compressed)
		if i < 3 {
			end = start + int64(binary.LittleEndian.Uint16(sizes[2*i:]))
		}
		if end > int64(from+head+compressed) {
			return 0
		}
		c.start[i], c.end[i] = C.int64_t(start), C.int64_t(end)
		start = end
	}
	c.dst, c.piece, c.size = C.int64_t(at), C.int64_t((size+3)/4), C.int64_t(size)
	h.n++
	return size
}

// table fills t from the weights of a Huffman tree in front of b, and gives the bytes that they take, or 0.
func (h *huffman) table(t *[1 << tableLog]uint16, b []byte) int {
	used := 1 + int(b[0])
	var weights [256]uint8
	n := 0
	if b[0] < 128 {
		if used > len(b) {
			return 0
		}
		h.fse.DecompressLimit = 255
		out, err := fse.Decompress(b[1:used], &h.fse)
		if err != nil || len(out) > 255 {
			return 0
		}
		n = copy(weights[:], out)
	} else {
		n = int(b[0]) - 127
		if used = 1 + (n+1)/2; used > len(b) {
			return 0
		}
		for i := range n {
			weights[i] = b[1+i/2] >> (4 * (1 - i%2)) & 15
		}
	}
	sum := 0
	for _, w := range weights[:n] {
		if w > tableLog {
			return 0
		}
		sum += 1 << w >> 1
	}
	if sum == 0 {
		return 0
	}
	longest := bits.Len(uint(sum)) // of a code
	rest := 1<<longest - sum
	if longest > tableLog || rest&(rest-1) != 0 {
		return 0
	}
	weights[n] = uint8(bits.Len(uint(rest)))
	fillTable(t, weights[:n+1], longest)
	return used
}

// fillTable gives each symbol its share of the table, the rarest first.
func fillTable(t *[1 << tableLog]uint16, weights []uint8, longest int) {
	var start [tableLog + 2]int // of the symbols of a weight
	for _, w := range weights {
		if w > 0 {
			start[w+1] += 1 << (int(w) - 1 + tableLog - longest)
		}
	}
	for w := 1; w < len(start); w++ {
		start[w] += start[w-1]
	}
	for symbol, w := range weights {
		if w == 0 {
			continue
		}
		entry := uint16(symbol)<<8 | uint16(longest+1-int(w))
		to := start[w] + 1<<(int(w)-1+tableLog-longest)
		for i := start[w]; i < to; i++ {
			t[i] = entry
		}
		start[w] = to
	}
}

// run decodes the blocks that wait.
func (h *huffman) run(dst, src []byte) bool {
	n := h.n
	h.n = 0
	return n == 0 || C.blocks((*C.uint8_t)(unsafe.Pointer(&dst[0])), (*C.uint8_t)(unsafe.Pointer(&src[0])), &h.blocks[0],
		(*C.uint16_t)(unsafe.Pointer(&h.tables[0])), C.int(n)) != 0
}
