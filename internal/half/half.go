// Package half converts between float32 and the two 16-bit formats of the field: IEEE 754 binary16 (float16) and bfloat16.
// All conversions to 16 bits round to nearest, ties to even; subnormals, infinities and NaN are kept.
package half

import "math"

// BF16 rounds f to bfloat16: the upper half of a float32. A NaN stays a NaN (quiet bit set).
func BF16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + (b>>16)&1) >> 16)
}

// FromBF16 widens a bfloat16; it is exact.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F16 rounds f to float16. Magnitudes of 65520 and more become infinite, as IEEE 754 asks.
func F16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN: keep the top payload bits, stay quiet
		return sign | 0x7e00 | uint16(b>>13)&0x1ff
	case b >= 0x47800000: // 65536 and more, and infinity
		return sign | 0x7c00
	case b >= 0x38800000: // normal in float16: re-bias the exponent by 127-15, round the 13 bits that go
		b -= 112 << 23
		return sign | uint16((b+0xfff+(b>>13)&1)>>13)
	case b >= 0x33000000: // subnormal: value is m * 2^-24, m from the full significand shifted right
		m := b&0x7fffff | 0x800000
		shift := 126 - b>>23 // 14 for the largest subnormals, 24 for the smallest
		half := uint32(1) << (shift - 1)
		return sign | uint16((m+half-1+(m>>shift)&1)>>shift)
	}
	return sign
}

// FromF16 widens a float16; it is exact.
func FromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, man := uint32(h>>10)&0x1f, uint32(h&0x3ff)
	switch exp {
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | man<<13)
	case 0:
		f := float32(man) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}
