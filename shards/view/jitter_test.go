package view

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"math"
	"os"
	"testing"
)

type goldenJitter struct {
	Params []float32
	Pixels string
}

func TestJitterEqualsTorchvision(t *testing.T) {
	raw, err := os.ReadFile("testdata/jitter.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string][]goldenJitter
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	var cube []uint8
	for r := 0; r < 256; r += 3 {
		for g := 0; g < 256; g += 3 {
			for b := 0; b < 256; b += 3 {
				cube = append(cube, uint8(r), uint8(g), uint8(b))
			}
		}
	}
	for _, c := range golden["cube"] {
		pix := bytes.Clone(cube)
		if err := applyJitter(pix, c.Params); err != nil || digest(pix) != c.Pixels {
			t.Errorf("%v on a cube of colours: not torchvision's pixels (%v)", c.Params, err)
		}
	}
	img, err := turboOrSkip(t).Decode(photo(t, "china.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]uint8, 3*224*224)
	for _, c := range golden["china.jpg"] {
		v := View{W: int32(img.W), H: int32(img.H), Jitter: c.Params}
		if err := NewCenter().Render(dst, img, v, 224); err != nil || digest(dst) != c.Pixels {
			t.Errorf("%v on a photograph: not torchvision's pixels (%v)", c.Params, err)
		}
	}
}

// Without jitter nothing changes for a policy; with it, orders and factors are spread as ColorJitter's.
func TestJitterIsDrawn(t *testing.T) {
	plain, p := NewRRC(0.2, 7), NewRRC(0.2, 7).WithJitter(0.4, 0.4, 0.2, 0.1)
	const n = 4000
	var sum, low, high [jitterOperations]float64
	first := map[float32]int{}
	for op := range low {
		low[op] = math.Inf(1)
		high[op] = math.Inf(-1)
	}
	for i := range n {
		sha := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		v, without := p.View(sha, 1, 500, 375), plain.View(sha, 1, 500, 375)
		if len(v.Jitter) != 8 || without.Jitter != nil || v.X != without.X || v.W != without.W || v.Flip != without.Flip {
			t.Fatalf("%+v, without jitter %+v", v, without)
		}
		first[v.Jitter[0]]++
		for j := 0; j < 8; j += 2 {
			op, f := int(v.Jitter[j]), float64(v.Jitter[j+1])
			sum[op] += f / n
			low[op], high[op] = min(low[op], f), max(high[op], f)
		}
	}
	for op, want := range [][3]float64{{1, 0.6, 1.4}, {1, 0.6, 1.4}, {1, 0.8, 1.2}, {0, -0.1, 0.1}} {
		if width := want[2] - want[1]; math.Abs(sum[op]-want[0]) > 0.02*width || math.Abs(low[op]-want[1]) > 0.01*width || math.Abs(high[op]-want[2]) > 0.01*width {
			t.Errorf("operation %d: factors of mean %.4f from %.4f to %.4f, want %v", op, sum[op], low[op], high[op], want)
		}
		if c := first[float32(op)]; c < n/4-n/20 || c > n/4+n/20 {
			t.Errorf("operation %d came first in %d of %d views", op, c, n)
		}
	}
	if some := NewRRC(0.2, 7).WithJitter(0.4, 0, 0.4, 0).View([32]byte{}, 0, 9, 9).Jitter; len(some) != 4 {
		t.Errorf("two operations give %v", some)
	}
}

func TestBadJitter(t *testing.T) {
	for _, params := range [][]float32{{0}, {4, 1}, {0.5, 1}, {float32(math.NaN()), 1}} {
		if applyJitter(make([]uint8, 3), params) == nil {
			t.Errorf("%v passed", params)
		}
	}
	for _, p := range []Policy{NewRRC(0.2, 0).WithJitter(-0.1, 0, 0, 0), NewRRC(0.2, 0).WithJitter(0, 0, 0, 0.6), NewRRC(0.2, 0).WithJitter(0, math.NaN(), 0, 0)} {
		if p.Validate() == nil {
			t.Errorf("%+v passed", p)
		}
	}
}
