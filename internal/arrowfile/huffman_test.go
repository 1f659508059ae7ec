package arrowfile

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"mvptargets/internal/half"
)

// skewed draws bytes of which some are more frequent than others, the more the greater skew is.
func skewed(r *rand.Rand, n int, skew float64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(math.Abs(r.NormFloat64()) * 256 / (1 + skew))
	}
	return b
}

// Whatever decodeLiterals takes, the zstd package decodes to the same bytes; what it must take, it takes.
func TestLiteralsEqualZstd(t *testing.T) {
	if !haveBMI2 {
		t.Skip("the processor has no BMI2: frames are left to the zstd package")
	}
	r := rand.New(rand.NewPCG(1, 1))
	taken := 0
	for trial := range 400 {
		n := []int{1, 300, 1023, 5000, 65536, 65537, 131072, 200000, 400001}[trial%9] + r.IntN(3)
		want := skewed(r, n, []float64{0, 0.5, 2, 10, 100, 1000}[trial%6])
		if trial%5 == 0 {
			for i := range n { // as float16 looks: every other byte noise
				if i%2 == 0 {
					want[i] = byte(r.Uint32())
				}
			}
		}
		for _, own := range []bool{false, true} {
			frame := compress(nil, want)
			if own {
				frame = compressLiterals(nil, want)
			}
			got := make([]byte, n)
			if decodeLiterals(got, frame) {
				taken++
				if !bytes.Equal(got, want) {
					t.Fatalf("trial %d: %d bytes were decoded to others", trial, n)
				}
			} else if own {
				t.Errorf("trial %d: our own frame was not taken", trial)
			}
			clear(got)
			if err := decompressAny(got, frame); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("trial %d, own frame %v: zstd decodes other bytes, %v", trial, own, err)
			}
		}
	}
	t.Logf("%d of 800 frames were taken", taken)
	if taken < 500 {
		t.Errorf("%d frames were taken", taken)
	}
}

// Frames with flipped bits: either both decoders agree on the bytes, or it is left to the zstd package.
func agree(t *testing.T, frame []byte, size int) {
	got, want := make([]byte, size), make([]byte, size)
	if decodeLiterals(got, frame) {
		if err := decompressAny(want, frame); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("a frame of %d bytes was taken; zstd: %v", len(frame), err)
		}
	}
}

func TestDamagedLiterals(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		size := 2000 + r.IntN(150000)
		good := compressLiterals(nil, skewed(r, size, 1))
		for range 100 {
			bad := bytes.Clone(good)
			for range 1 + r.IntN(2) {
				at := r.IntN(len(bad))
				if r.IntN(2) == 0 {
					at = r.IntN(min(len(bad), 200)) // headers, tables
				}
				bad[at] ^= 1 << r.IntN(8)
			}
			agree(t, bad[:len(bad)-r.IntN(2)*r.IntN(len(bad))], size)
		}
	}
}

func FuzzLiterals(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{1100, 3000, 70000} {
		f.Add(compressLiterals(nil, skewed(r, n, 1)), n)
	}
	f.Fuzz(func(t *testing.T, frame []byte, size int) {
		if size > 0 && size < 1<<18 {
			agree(t, frame, size)
		}
	})
}

func BenchmarkLiterals(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	want := make([]byte, 4<<20)
	for i := 0; i < len(want); i += 2 {
		binary.LittleEndian.PutUint16(want[i:], half.F16(float32(r.NormFloat64())))
	}
	frame := compressLiterals(nil, want)
	got := make([]byte, len(want))
	for name, decode := range map[string]func() bool{
		"two blocks": func() bool { return decodeLiterals(got, frame) },
		"zstd":       func() bool { return decompressAny(got, frame) == nil },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(want)))
			for b.Loop() {
				if !decode() {
					b.Fatal("not taken")
				}
			}
		})
	}
}
