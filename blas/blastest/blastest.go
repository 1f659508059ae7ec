// Package blastest is the conformance suite of blas.Device: every operation, forward and backward, against a reference device
// on the same inputs. A device's own test calls Run once for each compute type, with a device for each
// code path.
//
// A case builds its tensors through a side, once for the device and once for the reference, from one seed; both sides
// therefore see the same bits. Every tensor that the operation writes is compared.
package blastest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"mvptargets/blas"
)

// Run tests every operation of each device in one compute type against ref, and that nothing stays allocated.
func Run(t *testing.T, ref blas.Device, compute blas.DType, devices ...blas.Device) {
	t.Helper()
	for _, c := range cases(compute) {
		inputs, size := 0, 0
		for i, f := range flavors {
			if i > 0 && heavy(c.name) || !c.takes(f, compute) || f.denormal && size > denormalUpTo {
				continue
			}
			last := 0
			if f.poison != 0 && size <= poisonEach {
				last = inputs - 1
			}
			for f.at = 0; f.at <= last; f.at++ {
				t.Run(c.name+"/"+f.String(), func(t *testing.T) {
					want := play(t, ref, c, f, compute)
					inputs, size = want.inputs, want.size
					for _, dev := range devices {
						for i, got := range play(t, dev, c, f, compute).outs {
							compare(t, compute, f, dev.Info(), got, want.outs[i])
						}
					}
				})
			}
		}
	}
	for _, dev := range devices {
		name := device(dev.Info())
		t.Run("upload in order on "+name, func(t *testing.T) { uploadInOrder(t, dev) })
		t.Run("fetch in order on "+name, func(t *testing.T) { fetchInOrder(t, dev) })
		t.Run("record on "+name, func(t *testing.T) { record(t, dev, compute) })
		if live := dev.Live(); len(live) > 0 {
			t.Errorf("%d tensors left allocated on %s: %v", len(live), name, live)
		}
	}
}

// device names a device with the paths that it took.
func device(i blas.Info) string { return fmt.Sprint(i.Name, " ", i.Paths) }

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
	tensors []blas.Tensor // as allocated
	inputs  int           // made so far
	size    int           // elements of all tensors
	outs    []output
}

// output is a tensor to compare after the run.
type output struct {
	name   string
	t      blas.Tensor
	g      grade
	values []float64

	undefined func(i int) bool // elements that are not compared; nil: none
}

// play runs a case on one device and reads its outputs.
func play(t *testing.T, dev blas.Device, c testCase, f flavor, compute blas.DType) *side {
	t.Helper()
	s := &side{dev: dev, compute: compute, master: compute.Master(), flavor: f, rng: rand.New(rand.NewPCG(1, 2))}
	c.run(s)
	if err := dev.Sync(); err != nil {
		t.Fatalf("%s: %v", device(dev.Info()), err)
	}
	read := func(x blas.Tensor) []float64 {
		v, err := blas.Get(dev, x)
		if err != nil {
			t.Fatalf("%s: %v", device(dev.Info()), err)
		}
		return v
	}
	for i := range s.outs {
		s.outs[i].values = read(s.outs[i].t)
	}
	for _, x := range s.tensors {
		if f.views {
			v := read(x)
			for _, guard := range append(v[:guardBefore:guardBefore], v[len(v)-guardAfter:]...) {
				if guard != guardValue {
					t.Errorf("%s wrote %g outside of a view of %v", device(dev.Info()), guard, x)
				}
			}
		}
		dev.Free(x)
	}
	return s
}

// values makes a tensor of given values; every other maker ends here.
func (s *side) values(dt blas.DType, v []float64, shape ...int) blas.Tensor {
	s.size += len(v)
	if s.flavor.views {
		return s.view(dt, v, shape...)
	}
	x := s.dev.Alloc(fmt.Sprint("blastest ", len(s.tensors)), dt, shape...)
	blas.Set(s.dev, x, v)
	s.tensors = append(s.tensors, x)
	return x
}

// in makes an input of normal values times the flavor's scale; one of a case carries the poison.
func (s *side) in(dt blas.DType, shape ...int) blas.Tensor {
	return s.scaled(dt, s.flavor.scale, shape...)
}

// plain makes an input of normal values whatever the flavor.
func (s *side) plain(dt blas.DType, shape ...int) blas.Tensor { return s.scaled(dt, 1, shape...) }

func (s *side) scaled(dt blas.DType, scale float64, shape ...int) blas.Tensor {
	return s.values(dt, s.draw(scale, length(shape)), shape...)
}

// draw is the numbers of an input.
func (s *side) draw(scale float64, n int) []float64 {
	v := s.random(n, func() float64 { return s.rng.NormFloat64() * scale })
	if s.inputs == s.flavor.at && s.flavor.poison != 0 && len(v) > 0 {
		v[len(v)/2] = s.flavor.poison
	}
	s.inputs++
	return v
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
func compare(t *testing.T, compute blas.DType, f flavor, on blas.Info, got, want output) {
	t.Helper()
	var square, worst float64
	finite, at := 0, -1
	for i, w := range want.values {
		if got.undefined != nil && got.undefined(i) {
			got.values[i] = w
		}
		if !math.IsNaN(w) && !math.IsInf(w, 0) {
			square += w * w
			finite++
		}
	}
	rms := math.Sqrt(square / float64(max(finite, 1)))
	slack := 0.0
	if f.denormal && got.g != exact {
		slack = smallest(got.t.DType())
	}
	for i, w := range want.values {
		if e := relativeError(got.values[i], w, rms, slack); e > worst {
			worst, at = e, i
		}
	}
	if tol := tolerance(compute, got.t.DType(), got.g); worst > tol {
		t.Errorf("%s: %s %v: element %d is %g, want %g: relative error %.3g, tolerance %.3g", device(on),
			got.name, got.t, at, got.values[at], want.values[at], worst, tol)
	}
}

// relativeError is infinite where one side is NaN or infinite and the other is not the same; a difference of slack counts nothing.
func relativeError(got, want, rms, slack float64) float64 {
	switch {
	case got == want || math.IsNaN(got) && math.IsNaN(want):
		return 0
	case math.IsNaN(got) || math.IsNaN(want) || math.IsInf(got, 0) || math.IsInf(want, 0):
		return math.Inf(1)
	}
	return max(math.Abs(got-want)-slack, 0) / math.Max(math.Abs(want), rms)
}
