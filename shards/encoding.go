package shards

import (
	"fmt"
	"math"

	"mvptargets/internal/half"
)

// Encodings of the patches' features. The class token's is float16 in both.
const (
	EncodingF16 = "f16" // float16, nearest, ties to even
	EncodingI8  = "i8"  // int8 times a float32 scale per patch: the greatest magnitude of the patch over 127
)

// Encodings lists them, the default first.
func Encodings() []string { return []string{EncodingF16, EncodingI8} }

// Encoded says what Encode did.
type Encoded struct {
	Finite bool    // all numbers are finite once rounded; a row of which this is not true must not be stored
	Cosine float64 // the least cosine of a patch, as it is stored, to what it was; 1 for float16
}

// Encode fills r's features from a view's, patches row-major [P, D] and cls [D] or nil, in the store's encoding.
func (m Manifest) Encode(r *Row, patches, cls []float32) Encoded {
	out := Encoded{Finite: true, Cosine: 1}
	if m.Producer.Encoding == EncodingI8 {
		r.Patches, r.Int8, r.Scale = nil, grown(r.Int8, len(patches)), grown(r.Scale, len(patches)/m.Dim)
		for p := range r.Scale {
			x, q := patches[p*m.Dim:(p+1)*m.Dim], r.Int8[p*m.Dim:(p+1)*m.Dim]
			scale, cosine := quantize(q, x)
			r.Scale[p] = scale
			out.Finite = out.Finite && half.F16(127*scale)&0x7c00 != 0x7c00 // which a NaN or infinity in x is not
			out.Cosine = min(out.Cosine, cosine)
		}
	} else {
		r.Int8, r.Scale, r.Patches = nil, nil, grown(r.Patches, len(patches))
		out.Finite = F16FromF32(r.Patches, patches)
	}
	if cls == nil {
		r.CLS = nil
		return out
	}
	r.CLS = grown(r.CLS, len(cls))
	out.Finite = F16FromF32(r.CLS, cls) && out.Finite
	return out
}

// quantizePlain is the twin of quantize: it rounds x to multiples of the scale that it returns, and says what cosine is left. For features of crest factor c, their
// greatest magnitude over their root mean square, 1 - cosine is about c²/(24·127²): 0.9999 for a crest of 6.
func quantizePlain(q []int8, x []float32) (scale float32, cosine float64) {
	most := float32(0)
	for _, v := range x {
		most = max(most, max(v, -v)) // a NaN stays one
	}
	scale = most / 127
	if scale == 0 || !(most <= math.MaxFloat32) {
		clear(q)
		return scale, 1
	}
	var qq, qx, xx float64
	for i, v := range x {
		r := math.RoundToEven(float64(v / scale))
		q[i] = int8(max(-127, min(127, r)))
		qq, qx, xx = qq+r*r, qx+r*float64(v), xx+float64(v)*float64(v)
	}
	return scale, qx / math.Sqrt(qq*xx)
}

// dequantizePlain is the twin of dequantize: dst is q times the scale of its patch, rounded to float16.
func dequantizePlain(dst []uint16, q []int8, scale []float32) {
	dim := len(q) / len(scale)
	for i, v := range q {
		dst[i] = half.F16(float32(v) * scale[i/dim])
	}
}

// f16Plain is the twin of F16FromF32.
func f16Plain(dst []uint16, src []float32) bool {
	finite := true
	for i, f := range src {
		h := half.F16(f)
		dst[i] = h
		if h&0x7c00 == 0x7c00 {
			finite = false
		}
	}
	return finite
}

// checkFeatures refuses a row whose features are not of the store's shape or encoding.
func (m Manifest) checkFeatures(r *Row) error {
	n, patches := m.Patches()*m.Dim, len(r.Patches)
	wrong := patches != n || len(r.Int8)+len(r.Scale) > 0
	if m.Producer.Encoding == EncodingI8 {
		wrong = len(r.Int8) != n || len(r.Scale) != m.Patches() || patches > 0
		patches = len(r.Int8)
	}
	if wrong || m.CLS != (r.CLS != nil) || m.CLS && len(r.CLS) != m.Dim {
		return fmt.Errorf("row %s has %d patch numbers and %d of the class token, the store's rows have %d and %d in encoding %s",
			r.Key, patches, len(r.CLS), n, m.Dim, m.Producer.Encoding)
	}
	return nil
}
