package probe

import (
	"strings"
	"testing"
)

func TestMemory(t *testing.T) {
	const gb = 1_000_000_000
	imagenet := size{train: 1_281_167, test: 50_000, dim: 1536, classes: 1000, layers: 13}
	for _, c := range []struct {
		free, cores, want int
		message           string // a piece of the error
	}{
		{1000 * gb, 8, 8, ""},
		{200 * gb, 8, 2, ""},
		{130 * gb, 8, 0, "a probe of 13 layers with 1281167 and 50000 images takes 149.1 GB of memory, of which 130.0 GB are free: give at most 10 at a time with --layers"},
		{20 * gb, 8, 0, "one layer takes 51.0 GB, so take one with --layers and less than 40 % of the images"},
	} {
		n, err := imagenet.fit(c.free, c.cores)
		if n != c.want || (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
			t.Errorf("%d bytes free: %d at a time, %v", c.free, n, err)
		}
	}
	if free, err := freeMemory(); err != nil || free < gb/100 {
		t.Errorf("%d bytes are free, %v", free, err)
	}
}
