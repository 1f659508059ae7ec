package student

import (
	"encoding/binary"
	"math/rand/v2"
)

// The purposes that random numbers are drawn for in a run. Each has streams of its own, so that asking for one more number in one
// place moves nothing in another.
const (
	drawMask uint64 = iota + 1
	drawDropPath
	drawOrder
)

// stream is the generator for one purpose at one place of a run: a function of the seed and of the counters (step, sample) alone.
// Whatever is drawn from it is the same after a resume, in any order of work and with any number of workers.
func stream(seed, purpose, step, sample uint64) *rand.Rand {
	var key [32]byte
	for i, x := range [4]uint64{seed, purpose, step, sample} {
		binary.LittleEndian.PutUint64(key[8*i:], x)
	}
	return rand.New(rand.NewChaCha8(key))
}
