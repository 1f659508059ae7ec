package cuda

import (
	"bytes"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cuda/emulator"
)

// Each wait between the copy stream, the compute stream and the host, left out: the emulated GPU names the race, whether or not the data
// came out right. With all of them there, the same transfers pass.
func TestTheEmulatedGPUCatchesAMissingEvent(t *testing.T) {
	const quarter = smallestHalf / 4 // eight uploads of it fill both halves
	for _, c := range []struct {
		name, call   string
		nth, uploads int
		want         string
	}{
		{"nothing", "", 0, 20, ""},
		{"compute's wait for a copy", "cuStreamWaitEvent", 1, 1, "no event orders a "},
		{"a copy's event", "cuEventRecord", 1, 1, "no event orders a "},
		{"a copy's wait for the half to be read", "cuStreamWaitEvent", 9 + 1, 9, "no event orders a "},
		{"the event of a half that was read", "cuEventRecord", 8, 12, "no event orders a "},
		{"the host's wait for the half to be copied", "cuEventSynchronize", 1, 9, "race with the host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gpu := emulator.Use(t)
			d, err := New()
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			x := d.Alloc("x", blas.U8, quarter)
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			if c.call != "" {
				gpu.Drop(c.call, c.nth)
			}
			for i := range c.uploads {
				d.Upload(x, bytes.Repeat([]byte{byte(i)}, quarter))
			}
			got := gpu.Finish()
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("want %q, got %q", c.want, got)
			}
			if err := d.Sync(); (err == nil) != (c.want == "") {
				t.Errorf("the device says %v", err)
			}
		})
	}
}

// A fetch that is not waited for shows as bytes that no copy gives.
func TestTheEmulatedGPUShowsAFetchReadTooEarly(t *testing.T) {
	d, gpu := emulated(t)
	x := filled(d, blas.F32, 4)
	defer d.Free(x)
	got := make([]float32, 4)
	gpu.Drop("cuEventSynchronize", 1)
	if err := d.Fetch(blas.Bytes(got), x)(); err != nil || got[0] == got[0] {
		t.Errorf("without the wait %v, %v", got, err)
	}
	if err := d.Fetch(blas.Bytes(got), x)(); err != nil || got[0] != 0 || got[1] != 0.84147096 {
		t.Errorf("with it %v, %v", got, err)
	}
}
