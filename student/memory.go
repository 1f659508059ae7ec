package student

import (
	"errors"
	"fmt"

	"mvptargets/blas"
)

// counter is a device that holds nothing: it adds up what a model would allocate.
type counter struct {
	blas.Device
	bytes int
}

func (c *counter) Alloc(_ string, t blas.DType, shape ...int) blas.Tensor {
	x := blas.NewTensor(c, t, shape...)
	c.bytes += x.Bytes()
	return x
}
func (c *counter) Upload(blas.Tensor, []byte) {}

// Footprint is the device memory in bytes that a model with these options takes.
func Footprint(c Config, o Options) int {
	var n counter
	NewModel(&n, c, o, 0)
	return n.bytes
}

// noRoom adds to a device's error of memory what micro-batch would fit; other errors stay as they are. Of what the device has, a
// twentieth is left for its own use.
func noRoom(err error, c Config, o Options, batch int) error {
	var device interface {
		error
		Room() int
	}
	if !errors.As(err, &device) {
		return err
	}
	o.Batch = 1
	one := Footprint(c, o)
	o.Batch = 2
	each := Footprint(c, o) - one
	room := device.Room() / 20 * 19
	for n := batch; n > 0; n-- {
		if batch%n == 0 && one+(n-1)*each <= room {
			return fmt.Errorf("%w: set train.micro_batch to %d or less, which takes %.2f GB", err, n, float64(one+(n-1)*each)/1e9)
		}
	}
	return fmt.Errorf("%w: the model takes %.2f GB with one image in a micro-batch, more than the device has", err, float64(one)/1e9)
}
