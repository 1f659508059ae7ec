// Package blastest is the conformance suite of blas.Device: every operation, forward and backward, against a reference device
// on the same inputs. A device's own test calls Run once for each compute type and code path.
//
// A case builds its tensors through a side, once for the device and once for the reference, from one seed; both sides
// therefore see the same bits. Every tensor that the operation writes is compared.
package blastest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"mvptargets/blas"
)

// Run tests every operation of dev in one compute type against ref, and that nothing stays allocated.
func Run(t *testing.T, dev, ref blas.Device, compute blas.DType) {
	t.Helper()
	before := len(dev.Live())
	for _, c := range cases(compute) {
		for i, f := range flavors {
			if f.poison != 0 && !c.poison || i > 0 && heavy(c.name) {
				continue
			}
			t.Run(c.name+"/"+f.name, func(t *testing.T) {
				got, want := play(t, dev, c, f, compute), play(t, ref, c, f, compute)
				for i := range got {
					compare(t, compute, got[i], want[i])
				}
			})
		}
	}
	t.Run("upload in order", func(t *testing.T) { uploadInOrder(t, dev) })
	t.Run("record", func(t *testing.T) { record(t, dev, compute) })
	if live := dev.Live(); len(live) != before {
		t.Errorf("%d tensors left allocated: %v", len(live)-before, live)
	}
}

// heavy cases run with normal values only: the reference takes its time over them, and smaller ones cover the rest.
func heavy(name string) bool {
	return strings.Contains(name, "768]") || strings.Contains(name, "1701]") || strings.Contains(name, "197 tokens") || strings.Contains(name, "70001")
}

// flavor is a kind of input: its magnitude, or one NaN or infinity in the case's first input.
type flavor struct {
	name   string
	scale  float64
	poison float64
}

// Large and tiny stay where float32 squares neither overflow nor vanish: outside, the reference's float64 differs by right.
var flavors = []flavor{
	{"normal", 1, 0},
	{"large", 1e3, 0},
	{"tiny", 1e-10, 0},
	{"nan", 1, math.NaN()},
	{"inf", 1, math.Inf(1)},
}

// grade is how much arithmetic lies between the inputs and a result.
type grade int

const (
	exact   grade = iota // a copy, or one conversion: the same bits
	element              // a few operations per element
	sum                  // a sum over up to a few thousand terms, or an element after one extra rounding
	soft                 // attention: sums, exponentials, and probabilities in the compute type
)

// tolerance is the largest error allowed, relative to the element or to the tensor's root mean square where that is larger.
//
//	f32   element 4e-6: about 30 roundings of 2^-24, and exp or erf of 1e-7
//	      sum     2e-5: blocked sums of n terms err by about sqrt(n)·2^-24 of the root mean square; n <= 3072 gives 3e-6, the
//	                    largest of 1e5 elements five times that
//	      soft    1e-4: the exponent of a score s errs by |s|·2^-23, and scores here reach 100
//	bf16  element 2^-7: results a hair apart may round to neighbors, which differ by one unit in the last place
//	      sum     3·2^-8: the same after one extra rounding to bf16 on the way
//	      soft    3·2^-6: probabilities and dS may be rounded to bf16 before their products. That puts a third of Out on a neighbor, 2^-8
//	                    away; delta, taken of it, then errs by 2^-8·|DOut|·|Out|/2, all of which reaches dq where one probability is near 1,
//	                    0.9 % of the root mean square in the steepest case here, and the largest of 1e4 elements five times that
func tolerance(compute, stored blas.DType, g grade) float64 {
	if g == exact {
		return 0
	}
	if g == soft && compute == blas.BF16 {
		stored = blas.BF16
	}
	switch stored {
	case blas.BF16:
		return [...]float64{0, 1. / 128, 3. / 256, 3. / 64}[g]
	case blas.F64:
		return [...]float64{0, 1e-14, 1e-12, 1e-11}[g]
	}
	return [...]float64{0, 4e-6, 2e-5, 1e-4}[g]
}

// side is one device's run of a case.
type side struct {
	dev     blas.Device
	compute blas.DType
	master  blas.DType
	flavor  flavor
	rng     *rand.Rand
	tensors []blas.Tensor
	outs    []output
}

// output is a tensor to compare after the run.
type output struct {
	name   string
	t      blas.Tensor
	g      grade
	values []float64
}

// play runs a case on one device and returns the outputs with their values.
func play(t *testing.T, dev blas.Device, c testCase, f flavor, compute blas.DType) []output {
	t.Helper()
	s := &side{dev: dev, compute: compute, master: compute.Master(), flavor: f, rng: rand.New(rand.NewPCG(1, 2))}
	c.run(s)
	if err := dev.Sync(); err != nil {
		t.Fatalf("%s: %v", dev.Info().Name, err)
	}
	for i := range s.outs {
		v, err := blas.Get(dev, s.outs[i].t)
		if err != nil {
			t.Fatalf("%s: %v", dev.Info().Name, err)
		}
		s.outs[i].values = v
	}
	for _, x := range s.tensors {
		dev.Free(x)
	}
	return s.outs
}

// values makes a tensor of given values; every other maker ends here.
func (s *side) values(dt blas.DType, v []float64, shape ...int) blas.Tensor {
	x := s.dev.Alloc(fmt.Sprint("blastest ", len(s.tensors)), dt, shape...)
	blas.Set(s.dev, x, v)
	s.tensors = append(s.tensors, x)
	return x
}

// in makes an input of normal values times the flavor's scale; the first one of a case carries the poison.
func (s *side) in(dt blas.DType, shape ...int) blas.Tensor {
	return s.scaled(dt, s.flavor.scale, shape...)
}

// plain makes an input of normal values whatever the flavor.
func (s *side) plain(dt blas.DType, shape ...int) blas.Tensor { return s.scaled(dt, 1, shape...) }

func (s *side) scaled(dt blas.DType, scale float64, shape ...int) blas.Tensor {
	v := s.random(length(shape), func() float64 { return s.rng.NormFloat64() * scale })
	if len(s.tensors) == 0 && s.flavor.poison != 0 && len(v) > 0 {
		v[len(v)/2] = s.flavor.poison
	}
	return s.values(dt, v, shape...)
}

// factors makes drop path factors: 0 for some samples, 1/(1-p) for the others.
func (s *side) factors(n int) blas.Tensor {
	i := -1
	return s.values(s.master, s.random(n, func() float64 { i++; return []float64{1.25, 0, 1.25}[i%3] }), n)
}

// bits makes a mask with about 40 % set.
func (s *side) bits(shape ...int) blas.Tensor {
	return s.values(blas.U8, s.random(length(shape), func() float64 { return float64(s.rng.IntN(5) / 3) }), shape...)
}

// index makes distinct indices below n, in no order.
func (s *side) index(rows, n int) blas.Tensor {
	v := make([]float64, 0, rows)
	for _, p := range s.rng.Perm(n)[:rows] {
		v = append(v, float64(p))
	}
	return s.values(blas.I32, v, rows)
}

// positive makes non-negative values, for second moments.
func (s *side) positive(dt blas.DType, scale float64, shape ...int) blas.Tensor {
	return s.values(dt, s.random(length(shape), func() float64 { return math.Abs(s.rng.NormFloat64()) * scale }), shape...)
}

func (s *side) random(n int, f func() float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = f()
	}
	return v
}

// out makes a tensor that the operation overwrites; it holds garbage before, so that a missed element shows.
func (s *side) out(name string, g grade, dt blas.DType, shape ...int) blas.Tensor {
	return s.check(name, g, s.values(dt, s.random(length(shape), func() float64 { return 77 }), shape...))
}

// sumInto makes a tensor that the operation adds to.
func (s *side) sumInto(name string, g grade, shape ...int) blas.Tensor {
	return s.check(name, g, s.scaled(s.master, s.flavor.scale, shape...))
}

// check marks a tensor for comparison.
func (s *side) check(name string, g grade, t blas.Tensor) blas.Tensor {
	s.outs = append(s.outs, output{name: name, t: t, g: g})
	return t
}

func length(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// compare reports the worst element of one output.
func compare(t *testing.T, compute blas.DType, got, want output) {
	t.Helper()
	var square, worst float64
	finite, at := 0, -1
	for _, w := range want.values {
		if !math.IsNaN(w) && !math.IsInf(w, 0) {
			square += w * w
			finite++
		}
	}
	rms := math.Sqrt(square / float64(max(finite, 1)))
	for i, w := range want.values {
		if e := relativeError(got.values[i], w, rms); e > worst {
			worst, at = e, i
		}
	}
	if tol := tolerance(compute, got.t.DType(), got.g); worst > tol {
		t.Errorf("%s %v: element %d is %g, want %g: relative error %.3g, tolerance %.3g",
			got.name, got.t, at, got.values[at], want.values[at], worst, tol)
	}
}

// relativeError is infinite where one side is NaN or infinite and the other is not the same.
func relativeError(got, want, rms float64) float64 {
	switch {
	case got == want || math.IsNaN(got) && math.IsNaN(want):
		return 0
	case math.IsNaN(got) || math.IsNaN(want) || math.IsInf(got, 0) || math.IsInf(want, 0):
		return math.Inf(1)
	}
	return math.Abs(got-want) / math.Max(math.Abs(want), rms)
}
