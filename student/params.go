package student

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"mvptargets/blas"
)

// Param is one parameter: its name and shape as timm's Beit has them, and what the optimizer and the initializer must know.
type Param struct {
	Name  string // "" for padding that is never trained nor saved
	Shape []int
	Decay bool    // weight decay applies: matrices yes; biases, norms, layer scale, tokens and position tables no
	Std   float64 // standard deviation of the truncated normal it starts from
	Value float64 // constant that it starts from where Std is 0
	at    int     // first element in the flat buffers
}

// Len is the number of elements.
func (p Param) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Training reports whether the parameter serves the training task alone and is no part of the encoder that timm knows.
func (p Param) Training() bool {
	return p.Name == "mask_token" || strings.HasPrefix(p.Name, "target_head.")
}

// Params lays all parameters end to end in flat buffers, so that norm, optimizer and average are one pass over memory.
type Params struct {
	List                   []Param
	Value, Grad, M, V, Low blas.Tensor // [n]; Low is the compute-precision copy, Value itself where the types agree
	bounds, factors        blas.Tensor
	index                  map[string]int
}

// newParams allocates the flat buffers for list on dev.
func newParams(dev blas.Device, list []Param, compute blas.DType) *Params {
	p := &Params{List: list, index: map[string]int{}}
	n, bounds, factors := 0, []float64{0}, []float64{}
	for i := range p.List {
		q := &p.List[i]
		q.at = n
		n += q.Len()
		p.index[q.Name] = i
		rate, decay := 1.0, 0.0
		if q.Name == "" {
			rate = 0
		}
		if q.Decay {
			decay = 1
		}
		bounds, factors = append(bounds, float64(n)), append(factors, rate, decay)
	}
	master := compute.Master()
	p.Value = dev.Alloc("parameters", master, n)
	p.Grad = dev.Alloc("gradients", master, n)
	p.M = dev.Alloc("adam m", master, n)
	p.V = dev.Alloc("adam v", master, n)
	p.Low = p.Value
	if compute != master {
		p.Low = dev.Alloc("parameters in compute precision", compute, n)
	}
	p.bounds = dev.Alloc("segment bounds", blas.I32, len(bounds))
	p.factors = dev.Alloc("segment factors", master, len(p.List), 2)
	blas.Set(dev, p.bounds, bounds)
	blas.Set(dev, p.factors, factors)
	return p
}

// free returns the buffers to dev.
func (p *Params) free(dev blas.Device) {
	if p.Low != p.Value {
		dev.Free(p.Low)
	}
	for _, t := range []blas.Tensor{p.Value, p.Grad, p.M, p.V, p.bounds, p.factors} {
		dev.Free(t)
	}
}

// find returns the parameter of that name; an unknown name is a bug.
func (p *Params) find(name string) Param {
	i, ok := p.index[name]
	if !ok {
		panic(fmt.Sprintf("student: no parameter %q", name))
	}
	return p.List[i]
}

// Of views parameter name inside one of the flat buffers, as a vector or, from rank two, as a matrix [first, rest].
func (p *Params) Of(buffer blas.Tensor, name string) blas.Tensor {
	q := p.find(name)
	t := buffer.Slice(q.at, q.at+q.Len())
	if len(q.Shape) < 2 || q.Shape[0] == 1 {
		return t
	}
	return t.Reshape(q.Shape[0], q.Len()/q.Shape[0])
}

// draw puts the starting values on dev: parameter i from its own generator, keyed by (seed, i), so that a change to one leaves the
// others as they were. Truncated at two standard deviations, as timm's trunc_normal_ is for these sizes.
func (p *Params) draw(dev blas.Device, seed uint64) {
	for i, q := range p.List {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		v := make([]float64, q.Len())
		for j := range v {
			v[j] = q.Value
			if q.Std > 0 {
				x := r.NormFloat64()
				for math.Abs(x) > 2 {
					x = r.NormFloat64()
				}
				v[j] = x * q.Std
			}
		}
		blas.Set(dev, p.Value.Slice(q.at, q.at+q.Len()), v)
	}
}
