package blas

import "fmt"

// checker collects the shape and type rules of one operation; it panics at the first one broken, naming the operation and
// the field, because a wrong shape is a bug in the caller.
type checker string

func (op checker) fail(field string, t Tensor, want string) {
	panic(fmt.Sprintf("blas: %s: %s is %v, want %s", string(op), field, t, want))
}

// shape asks for a tensor of exactly these dimensions.
func (op checker) shape(field string, t Tensor, dims ...int) {
	ok := t.Ok() && t.rank == len(dims)
	for i := 0; ok && i < len(dims); i++ {
		ok = t.shape[i] == dims[i]
	}
	if !ok {
		op.fail(field, t, fmt.Sprint("shape ", dims))
	}
}

// optional is shape for a field that may be absent.
func (op checker) optional(field string, t Tensor, dims ...int) {
	if t.Ok() {
		op.shape(field, t, dims...)
	}
}

// rank asks for a tensor of that many dimensions.
func (op checker) rank(field string, t Tensor, rank int) {
	if !t.Ok() || t.rank != rank {
		op.fail(field, t, fmt.Sprintf("rank %d", rank))
	}
}

// length asks for a tensor of that many elements, whatever its shape.
func (op checker) length(field string, t Tensor, n int) {
	if !t.Ok() || t.Len() != n {
		op.fail(field, t, fmt.Sprintf("%d elements", n))
	}
}

// types asks for one of the given types; an absent tensor passes (shape has had its say).
func (op checker) types(field string, t Tensor, want ...DType) {
	if !t.Ok() {
		return
	}
	for _, w := range want {
		if t.dtype == w {
			return
		}
	}
	op.fail(field, t, fmt.Sprint("type ", want))
}

// compute and master ask for a type of that role; same asks two tensors for one type.
func (op checker) compute(field string, t Tensor) { op.types(field, t, F32, BF16, F64) }
func (op checker) master(field string, t Tensor)  { op.types(field, t, F32, F64) }
func (op checker) same(field string, t, as Tensor) {
	if t.Ok() && as.Ok() && t.dtype != as.dtype {
		op.fail(field, t, "type "+as.dtype.String())
	}
}

// keep asks for one factor for each rowsPer of so many rows; an absent tensor passes.
func (op checker) keep(t Tensor, rows, rowsPer int) {
	if t.Ok() {
		op.that(rowsPer > 0 && rows%rowsPer == 0, "RowsPer must divide the rows")
		op.shape("Keep", t, rows/rowsPer)
		op.master("Keep", t)
	}
}

// that asks for anything else.
func (op checker) that(ok bool, rule string) {
	if !ok {
		panic(fmt.Sprintf("blas: %s: %s", string(op), rule))
	}
}
