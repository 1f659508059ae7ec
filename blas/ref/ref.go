// Package ref is the plain twin of every device: pure Go, each operation written as its formula reads, matrix products by
// gonum. It defines what is right; the other devices are tested against it.
//
// Memory is []float64 whatever the tensor's type, arithmetic is float64, and a value is rounded to the tensor's type when it
// is stored. So an F32 tensor here carries the exact result rounded once, and F64 tensors carry what finite differences need.
package ref

import (
	"fmt"
	"runtime"
	"slices"
	"sort"

	"mvptargets/blas"
)

// Device is a blas.Device in plain Go. Operations run at once; nothing can fail after Check, so Sync is always nil.
type Device struct {
	live map[*memory]string
}

// memory is one allocation: element values, already rounded to their type.
type memory struct{ v []float64 }

var _ blas.Device = (*Device)(nil)

// New returns a reference device.
func New() *Device { return &Device{live: map[*memory]string{}} }

// Info implements blas.Device.
func (d *Device) Info() blas.Info {
	types := []blas.DType{blas.F32, blas.BF16, blas.F64}
	return blas.Info{Name: "ref", Detail: "pure Go on gonum, " + runtime.Version(), Threads: 1, Compute: types, Skips: types, Samples: 16, Paths: []string{"go"}}
}

// Alloc implements blas.Device.
func (d *Device) Alloc(name string, t blas.DType, shape ...int) blas.Tensor {
	n := 1
	for _, s := range shape {
		n *= s
	}
	m := &memory{make([]float64, n)}
	d.live[m] = name
	return blas.NewTensor(m, t, shape...)
}

// Free implements blas.Device.
func (d *Device) Free(t blas.Tensor) {
	m, ok := t.Mem().(*memory)
	if _, live := d.live[m]; !ok || !live {
		panic(fmt.Sprintf("blas/ref: free of %v, which is not allocated here", t))
	}
	delete(d.live, m)
}

// Live implements blas.Device.
func (d *Device) Live() []blas.Allocation {
	var out []blas.Allocation
	for m, name := range d.live {
		out = append(out, blas.Allocation{Name: name, Bytes: 8 * len(m.v)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Upload implements blas.Device.
func (d *Device) Upload(dst blas.Tensor, src []byte) {
	if len(src) != dst.Bytes() {
		panic(fmt.Sprintf("blas/ref: upload of %d bytes to %v", len(src), dst))
	}
	copy(data(dst), blas.Decode(dst.DType(), src))
}

// Download implements blas.Device.
func (d *Device) Download(dst []byte, src blas.Tensor) error {
	if len(dst) != src.Bytes() {
		panic(fmt.Sprintf("blas/ref: download of %v to %d bytes", src, len(dst)))
	}
	copy(dst, blas.Encode(src.DType(), data(src)))
	return nil
}

// Fetch implements blas.Device.
func (d *Device) Fetch(dst []byte, src blas.Tensor) func() error {
	err := d.Download(dst, src)
	return func() error { return err }
}

// Sync implements blas.Device.
func (d *Device) Sync() error { return nil }

// Record implements blas.Device.
func (d *Device) Record(_ string, issue func()) blas.Program { return blas.Replay(issue) }

// Close implements blas.Device.
func (d *Device) Close() error {
	clear(d.live)
	return nil
}

// data is the elements that a tensor views; nil for the zero Tensor.
func data(t blas.Tensor) []float64 {
	if !t.Ok() {
		return nil
	}
	return t.Mem().(*memory).v[t.Offset() : t.Offset()+t.Len()]
}

// row is row r of a tensor seen as a matrix.
func row(t blas.Tensor, r int) []float64 {
	c := t.Cols()
	return data(t)[r*c : (r+1)*c]
}

// store rounds v to t's type into element i.
func store(t blas.Tensor, v []float64) {
	dst, dt := data(t), t.DType()
	for i, x := range v {
		dst[i] = dt.Round(x)
	}
}

// add accumulates v into a tensor of master type, rounding once.
func add(t blas.Tensor, v []float64) {
	dst, dt := data(t), t.DType()
	for i, x := range v {
		dst[i] = dt.Round(dst[i] + x)
	}
}

// live is the elements of a tensor, 0 in the rows of dropped samples.
func live(t, factors blas.Tensor, rowsPer int) []float64 {
	if !factors.Ok() {
		return data(t)
	}
	v, c := slices.Clone(data(t)), t.Cols()
	for r := range t.Rows() {
		if keep(factors, r, rowsPer) == 0 {
			clear(v[r*c : (r+1)*c])
		}
	}
	return v
}

// keep is the drop path factor of row r: 1 where there is none.
func keep(factors blas.Tensor, r, rowsPer int) float64 {
	if !factors.Ok() {
		return 1
	}
	return data(factors)[r/rowsPer]
}
