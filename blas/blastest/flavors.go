package blastest

import (
	"fmt"
	"math"
	"strings"

	"mvptargets/blas"
)

// flavor is a kind of input: its magnitude, one NaN or infinity in one of the case's inputs, or its place in memory.
type flavor struct {
	name     string
	scale    float64
	poison   float64
	at       int  // the input that carries the poison
	needs    span // that a case must have
	denormal bool
	views    bool // every tensor lies at an odd place inside a larger one
}

func (f flavor) String() string {
	if f.at > 0 {
		return fmt.Sprintf("%s in input %d", f.name, f.at)
	}
	return f.name
}

// span is the magnitude of inputs that a case is defined for alike on all devices.
type span int

const (
	squares  span = iota // those whose float32 squares neither overflow nor vanish: outside, the reference's float64 differs by right
	products             // all of float32's; bfloat16's matrix instructions may take denormals for 0
	whole                // all
)

// flavors of inputs. Huge leaves room for sums of a few hundred products below float32's 3e38. Faint is so small that it can only just lose
// a denormal to a matrix instruction that takes it for 0: 1e-38 is 1e-6 of it. Denormal is a tenth of the least normal number.
var flavors = []flavor{
	{name: "normal", scale: 1},
	{name: "large", scale: 1e4},
	{name: "tiny", scale: 1e-10},
	{name: "huge", scale: 1e34, needs: products},
	{name: "faint", scale: 1e-32, needs: products},
	{name: "denormal", scale: 1e-39, needs: products, denormal: true},
	{name: "nan", scale: 1, poison: math.NaN()},
	{name: "inf", scale: 1, poison: math.Inf(1)},
	{name: "views", scale: 1, views: true},
}

// takes reports whether a case runs in a flavor.
func (c testCase) takes(f flavor, compute blas.DType) bool {
	if f.denormal && compute == blas.BF16 {
		f.needs = whole
	}
	return c.span >= f.needs && (f.poison == 0 || c.poison)
}

// smallest is the least number above 0 of a type. A denormal is rounded by half of that, whatever its size, and may be rounded twice.
func smallest(t blas.DType) float64 {
	switch t {
	case blas.BF16:
		return 0x1p-133
	case blas.F64:
		return math.SmallestNonzeroFloat64
	}
	return math.SmallestNonzeroFloat32
}

// poisonEach is the size of a case in elements up to which each input is poisoned in turn; larger cases have one in their first. Denormal
// runs up to denormalUpTo: processors take their time over it, the one under the emulated GPU too.
const poisonEach, denormalUpTo = 1500, 8000

// heavy cases run with normal values only: the reference takes its time over them, and smaller ones cover the rest.
func heavy(name string) bool {
	return strings.Contains(name, "768]") || strings.Contains(name, "1701]") || strings.Contains(name, "197 tokens") || strings.Contains(name, "70001")
}

// A view begins guardBefore elements into its memory and guardAfter before the end, which no operation may touch.
const (
	guardBefore, guardAfter = 3, 5
	guardValue              = 55
)

// view makes a tensor inside a larger one, as parameters lie: not even aligned to two elements.
func (s *side) view(dt blas.DType, v []float64, shape ...int) blas.Tensor {
	all := make([]float64, guardBefore+len(v)+guardAfter)
	for i := range all {
		all[i] = guardValue
	}
	copy(all[guardBefore:], v)
	x := s.dev.Alloc(fmt.Sprint("blastest ", len(s.tensors)), dt, len(all))
	blas.Set(s.dev, x, all)
	s.tensors = append(s.tensors, x)
	return x.Slice(guardBefore, guardBefore+len(v)).Reshape(shape...)
}
