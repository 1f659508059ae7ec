package kernels

import (
	"slices"
	"strings"
	"testing"
)

func TestSignaturesAreRead(t *testing.T) {
	k := List["cast_bf16_f32"]
	if want := []Kind{Pointer, Pointer, Pointer, Long, Int, Int}; k.File != "elementwise.cu" || !slices.Equal(k.Params, want) {
		t.Errorf("cast_bf16_f32 was read as %+v", k)
	}
	for file, text := range Sources {
		if n := strings.Count(text, "__global__"); n == 0 || n != count(file) {
			t.Errorf("%s has %d kernels, %d were read", file, n, count(file))
		}
	}
}

func count(file string) (n int) {
	for _, k := range List {
		if k.File == file {
			n++
		}
	}
	return n
}
