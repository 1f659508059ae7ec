package extract

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"mvptargets/internal/source"
)

// orderOf places a key in the hash space that orders rows and divides work: neighbours in a store are unrelated, and which
// part a key falls into depends on nothing but the key.
func orderOf(key string) uint64 {
	sum := sha256.Sum256([]byte("mvp-extract order\x00" + key))
	return binary.BigEndian.Uint64(sum[:8])
}

// placeOf is orderOf for an image by itself. Images of one run of a large file stay together, so that the file is read run by run:
// runs are spread by reversing the bits of their numbers, which gives every part about the same count of them, and the hash
// orders the images of each.
func placeOf(i source.Item) uint64 {
	order := orderOf(i.Key)
	if i.Run > 0 {
		order = uint64(bits.Reverse32(uint32(i.Run)))<<32 | order>>32
	}
	return order
}

// Part is worker Index's share of the hash space, cut into Count equal pieces; Index counts from 0.
type Part struct{ Index, Count int }

// ParsePart reads "i/n".
func ParsePart(s string) (Part, error) {
	i, n, ok := strings.Cut(s, "/")
	index, err := strconv.Atoi(i)
	count, err2 := strconv.Atoi(n)
	if !ok || err != nil || err2 != nil || index < 0 || count < 1 || index >= count {
		return Part{}, fmt.Errorf("part %q is not i/n with 0 <= i < n", s)
	}
	return Part{index, count}, nil
}

func (p Part) String() string { return fmt.Sprintf("%d/%d", p.Index, p.Count) }

// has says whether a place in the hash space belongs to the part.
func (p Part) has(order uint64) bool {
	piece, _ := bits.Mul64(order, uint64(p.Count))
	return piece == uint64(p.Index)
}
