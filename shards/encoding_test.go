package shards

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"mvptargets/internal/half"
)

// Every float32 whose lower bits are of interest: all exponents and signs, all upper significands, and what decides ties.
func TestF16OfVectorsEqualsPlain(t *testing.T) {
	low := []uint32{0, 1, 0xfff, 0x1000, 0x1001, 0x1fff}
	src := make([]float32, 0, 1<<13)
	fast, plain := make([]uint16, 1<<13), make([]uint16, 1<<13)
	for top := range uint32(1 << 19) {
		src = append(src, math.Float32frombits(top<<13|low[top%6]), math.Float32frombits(top<<13|low[(top/7)%6]))
		if len(src) < 1<<13-5 && top != 1<<19-1 {
			continue
		}
		if F16FromF32(fast, src) != f16Plain(plain, src) || !slices.Equal(fast[:len(src)], plain[:len(src)]) {
			for i := range src {
				if fast[i] != plain[i] {
					t.Fatalf("%x (%g) became %04x, want %04x", math.Float32bits(src[i]), src[i], fast[i], plain[i])
				}
			}
			t.Fatal("they disagree on what is finite")
		}
		src = src[:0]
	}
	for n := range 20 { // every length, and a number that is not finite at every place
		for bad := range n {
			src := make([]float32, n)
			src[bad] = 65520
			if F16FromF32(fast, src) {
				t.Errorf("of %d numbers, number %d is not finite", n, bad)
			}
		}
		if !F16FromF32(fast, make([]float32, n)) {
			t.Errorf("%d zeros are not finite", n)
		}
	}
}

func TestDequantizeEqualsPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, dim := range []int{1, 5, 8, 16, 512, 515} {
		q, scale := make([]int8, 256*dim), make([]float32, 256)
		for i := range q {
			q[i] = int8(i + i/dim)
		}
		for p := range scale {
			scale[p] = math.Float32frombits(r.Uint32() &^ (1 << 31))
		}
		copy(scale, []float32{0, 1, 1e-8, 65504. / 127, 600, float32(math.Inf(1)), 5.9e-8, 3e-8})
		fast, plain := make([]uint16, len(q)), make([]uint16, len(q))
		dequantize(fast, q, scale)
		dequantizePlain(plain, q, scale)
		for i := range q {
			if fast[i] != plain[i] && half.FromF16(plain[i]) == half.FromF16(plain[i]) {
				t.Fatalf("width %d: %d times %g became %04x, want %04x", dim, q[i], scale[i/dim], fast[i], plain[i])
			}
		}
	}
}

func TestQuantizeEqualsPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for trial := range 2000 {
		n := []int{8, 64, 512, 768, 5}[trial%5]
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() * math.Pow(10, float64(trial%9-4)))
		}
		switch trial % 11 {
		case 0:
			x[r.IntN(n)] = float32(math.NaN())
		case 1:
			x[r.IntN(n)] = float32(math.Inf(-1))
		case 2:
			clear(x)
		case 3: // ties
			for i := range x {
				x[i] = float32(r.IntN(255)-127) / 2
			}
			x[0] = 127
		case 4: // subnormal numbers
			for i := range x {
				x[i] = math.Float32frombits(r.Uint32() & 0x807fffff)
			}
		}
		fast, plain := make([]int8, n), make([]int8, n)
		s, c := quantize(fast, x)
		sp, cp := quantizePlain(plain, x)
		if same := s == sp || s != s && sp != sp; !same || !slices.Equal(fast, plain) || math.Abs(c-cp) > 1e-12 {
			t.Fatalf("trial %d: scale %g, want %g; cosine %g, want %g; %v, want %v", trial, s, sp, c, cp, fast, plain)
		}
	}
}

// gaussian draws features as a teacher's look: normal numbers of a scale per patch, some of a patch's numbers much greater.
func gaussian(r *rand.Rand, patches, dim int, outlier float64) []float32 {
	x := make([]float32, patches*dim)
	for p := range patches {
		scale := math.Exp(r.NormFloat64())
		for i := range dim {
			x[p*dim+i] = float32(scale * r.NormFloat64())
		}
		x[p*dim] = float32(scale * outlier)
	}
	return x
}

func cosines(a, b []float32, dim int) (least float64) {
	least = 1
	for p := 0; p < len(a); p += dim {
		var ab, aa, bb float64
		for i := p; i < p+dim; i++ {
			ab, aa, bb = ab+float64(a[i])*float64(b[i]), aa+float64(a[i])*float64(a[i]), bb+float64(b[i])*float64(b[i])
		}
		least = min(least, ab/math.Sqrt(aa*bb))
	}
	return least
}

// What comes out of a batch has the cosine that Encode promised: 0.9999 and better for features without extreme outliers.
func TestInt8KeepsDirections(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	const patches, dim = 300, 512
	m := Manifest{Producer: Producer{Encoding: EncodingI8}, Grid: [2]int{patches, 1}, Dim: dim}
	for _, c := range []struct{ outlier, least float64 }{{0, 0.9999}, {5, 0.9999}, {30, 0.999}} {
		x := gaussian(r, patches, dim, c.outlier)
		var row Row
		done := m.Encode(&row, x, nil)
		bits, back := make([]uint16, len(x)), make([]float32, len(x))
		dequantize(bits, row.Int8, row.Scale)
		F32FromF16(back, bits)
		if got := cosines(x, back, dim); !done.Finite || got < c.least || math.Abs(got-done.Cosine) > 1e-6 {
			t.Errorf("outliers of %g: cosine %.6f, Encode said %.6f, want %g; finite %v", c.outlier, got, done.Cosine, c.least, done.Finite)
		}
	}
}

func TestEncodeFindsWhatIsNotFinite(t *testing.T) {
	for _, encoding := range Encodings() {
		m := Manifest{Producer: Producer{Encoding: encoding}, Grid: [2]int{2, 1}, Dim: 8}
		var r Row
		for name, bad := range map[string]float32{"NaN": float32(math.NaN()), "infinity": float32(math.Inf(-1)), "70000": 70000, "largest": math.MaxFloat32} {
			for at := range 16 {
				x := make([]float32, 16)
				x[at] = bad
				if m.Encode(&r, x, nil).Finite {
					t.Errorf("%s: %s at %d passes as finite", encoding, name, at)
				}
			}
			if m.Encode(&r, make([]float32, 16), []float32{0, bad}).Finite {
				t.Errorf("%s: %s in the class token passes as finite", encoding, name)
			}
		}
		if !m.Encode(&r, make([]float32, 16), nil).Finite {
			t.Errorf("%s: zeros are not finite", encoding)
		}
	}
}

func TestInt8RowsComeBack(t *testing.T) {
	for _, cls := range []bool{true, false} {
		m := testManifest()
		m.Producer.Encoding, m.CLS = EncodingI8, cls
		s, err := Create(filepath.Join(t.TempDir(), "store"), m)
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Writer(WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(4, 4))
		want := map[string]string{}
		for i := range 50 {
			row := testRow(i, 0)
			var token []float32
			if cls {
				token = gaussian(r, 1, 5, 1)
			}
			if !w.Encode(row, gaussian(r, 6, 5, 2), token).Finite {
				t.Fatal("not finite")
			}
			bits := make([]uint16, 30)
			dequantizePlain(bits, row.Int8, row.Scale)
			want[row.Key] = fmt.Sprint(bits, row.CLS)
			if err := w.Append(row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Append(testRow(99, 0)); err == nil {
			t.Error("a row of float16 was taken")
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		x, err := s.Index()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		var b Batch
		for _, ref := range x.Batches {
			if err := s.Reader().ReadBatch(ref, &b); err != nil {
				t.Fatal(err)
			}
			for i := range b.Rows {
				if got := ofBatch(&b, i); fmt.Sprint(got.Patches, got.CLS) != want[got.Key] {
					t.Errorf("row %s is %v, want %s", got.Key, got.Patches, want[got.Key])
				}
				seen++
			}
		}
		if report := verified(t, s); seen != 50 || len(report.Problems) > 0 {
			t.Errorf("%d rows, %+v", seen, report)
		}
	}
}

func BenchmarkDequantize(b *testing.B) {
	q, scale, dst := make([]int8, 196*512), make([]float32, 196), make([]uint16, 196*512)
	b.Run("fast", func(b *testing.B) {
		b.SetBytes(2 * int64(len(q)))
		for b.Loop() {
			dequantize(dst, q, scale)
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(2 * int64(len(q)))
		for b.Loop() {
			dequantizePlain(dst, q, scale)
		}
	})
}
