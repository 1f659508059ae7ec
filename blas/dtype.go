package blas

import (
	"fmt"
	"math"
	"unsafe"

	"mvptargets/internal/half"
)

// DType is the type of a tensor's elements.
type DType uint8

// The element types. U8 and I32 hold pixels, masks and indices; F16 holds stored targets only.
const (
	F32 DType = iota
	BF16
	F64
	F16
	I32
	U8
)

// Size is the number of bytes of one element.
func (t DType) Size() int { return [...]int{4, 2, 8, 2, 4, 1}[t] }

func (t DType) String() string {
	return [...]string{"f32", "bf16", "f64", "f16", "i32", "u8"}[t]
}

// ParseDType reads a compute type's name, "f32", "bf16" or "f64".
func ParseDType(s string) (DType, error) {
	for _, t := range []DType{F32, BF16, F64} {
		if s == t.String() {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown compute type %q: use f32 or bf16", s)
}

// Master is the type of parameters, statistics and the residual stream beside compute type t.
func (t DType) Master() DType {
	if t == F64 {
		return F64
	}
	return F32
}

// Number is what a host slice for Upload and Download may hold. uint16 carries the bits of BF16 and F16.
type Number interface {
	~float32 | ~float64 | ~uint16 | ~int32 | ~uint8
}

// Bytes views a slice of numbers as the bytes that Upload and Download take.
func Bytes[T Number](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}

// Encode converts float64 values to the bytes of t, rounding to nearest even.
func Encode(t DType, v []float64) []byte {
	switch t {
	case F64:
		return Bytes(v)
	case F32:
		return Bytes(convert(v, func(x float64) float32 { return float32(x) }))
	case BF16:
		return Bytes(convert(v, func(x float64) uint16 { return half.BF16(float32(x)) }))
	case F16:
		return Bytes(convert(v, func(x float64) uint16 { return half.F16(float32(x)) }))
	case I32:
		return Bytes(convert(v, func(x float64) int32 { return int32(x) }))
	}
	return Bytes(convert(v, func(x float64) uint8 { return uint8(x) }))
}

// Decode converts the bytes of t to float64; every type is exact in float64.
func Decode(t DType, b []byte) []float64 {
	p := unsafe.Pointer(unsafe.SliceData(b))
	n := len(b) / t.Size()
	switch t {
	case F64:
		return append([]float64(nil), unsafe.Slice((*float64)(p), n)...)
	case F32:
		return convert(unsafe.Slice((*float32)(p), n), func(x float32) float64 { return float64(x) })
	case BF16:
		return convert(unsafe.Slice((*uint16)(p), n), func(x uint16) float64 { return float64(half.FromBF16(x)) })
	case F16:
		return convert(unsafe.Slice((*uint16)(p), n), func(x uint16) float64 { return float64(half.FromF16(x)) })
	case I32:
		return convert(unsafe.Slice((*int32)(p), n), func(x int32) float64 { return float64(x) })
	}
	return convert(b, func(x uint8) float64 { return float64(x) })
}

func convert[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}

// Round returns x as t stores it.
func (t DType) Round(x float64) float64 {
	switch t {
	case F32:
		return float64(float32(x))
	case BF16:
		return float64(half.FromBF16(half.BF16(float32(x))))
	case F16:
		return float64(half.FromF16(half.F16(float32(x))))
	case I32, U8:
		return math.Trunc(x)
	}
	return x
}

// Set uploads values to dst, converted to its type. For tests and set-up, not for the training step.
func Set(d Device, dst Tensor, values []float64) { d.Upload(dst, Encode(dst.DType(), values)) }

// Get downloads src as float64 values. For tests and reports, not for the training step.
func Get(d Device, src Tensor) ([]float64, error) {
	b := make([]byte, src.Len()*src.DType().Size())
	if err := d.Download(b, src); err != nil {
		return nil, err
	}
	return Decode(src.DType(), b), nil
}
