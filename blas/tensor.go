package blas

import "fmt"

// MaxRank is the most dimensions that a tensor has.
const MaxRank = 4

// Tensor is a dense row-major view of a device's memory: a value, cheap to copy. The zero Tensor stands for "absent" in
// the optional fields of operations.
type Tensor struct {
	mem    any // the device's own handle, nil in the zero Tensor
	offset int // in elements, from the start of mem
	shape  [MaxRank]int
	rank   int
	dtype  DType
}

// NewTensor wraps memory that a device has allocated. Only devices call it.
func NewTensor(mem any, dtype DType, shape ...int) Tensor {
	t := Tensor{mem: mem, dtype: dtype, rank: len(shape)}
	if len(shape) > MaxRank {
		panic(fmt.Sprintf("blas: tensor of rank %d", len(shape)))
	}
	copy(t.shape[:], shape)
	return t
}

// Mem is the device's handle as given to NewTensor; nil for the zero Tensor.
func (t Tensor) Mem() any { return t.mem }

// Offset is the place of the first element in Mem, in elements.
func (t Tensor) Offset() int { return t.offset }

// DType is the type of the elements.
func (t Tensor) DType() DType { return t.dtype }

// Ok reports whether t is a tensor at all, not the zero Tensor.
func (t Tensor) Ok() bool { return t.mem != nil }

// Rank is the number of dimensions.
func (t Tensor) Rank() int { return t.rank }

// Dim is the size of dimension i.
func (t Tensor) Dim(i int) int { return t.shape[i] }

// Shape is a copy of the dimensions.
func (t Tensor) Shape() []int { return append([]int(nil), t.shape[:t.rank]...) }

// Len is the number of elements.
func (t Tensor) Len() int {
	if !t.Ok() {
		return 0
	}
	n := 1
	for _, d := range t.shape[:t.rank] {
		n *= d
	}
	return n
}

// Bytes is the size in memory.
func (t Tensor) Bytes() int { return t.Len() * t.dtype.Size() }

// Rows is the first dimension, Cols the product of the others: any tensor as a matrix.
func (t Tensor) Rows() int { return t.shape[0] }

// Cols is the number of elements in one row.
func (t Tensor) Cols() int {
	n := 1
	for _, d := range t.shape[1:t.rank] {
		n *= d
	}
	return n
}

// Slice is the view of rows lo to hi (exclusive) along the first dimension.
func (t Tensor) Slice(lo, hi int) Tensor {
	if lo < 0 || hi < lo || hi > t.shape[0] {
		panic(fmt.Sprintf("blas: slice [%d:%d] of %v", lo, hi, t))
	}
	t.offset += lo * t.Cols()
	t.shape[0] = hi - lo
	return t
}

// Reshape is the same memory with another shape of the same length.
func (t Tensor) Reshape(shape ...int) Tensor {
	r := NewTensor(t.mem, t.dtype, shape...)
	r.offset = t.offset
	if r.Len() != t.Len() {
		panic(fmt.Sprintf("blas: reshape of %v to %v", t, shape))
	}
	return r
}

// Flat is t as a vector.
func (t Tensor) Flat() Tensor { return t.Reshape(t.Len()) }

func (t Tensor) String() string {
	if !t.Ok() {
		return "absent"
	}
	return fmt.Sprintf("%s%v", t.dtype, t.shape[:t.rank])
}
