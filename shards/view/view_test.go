package view

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const photos = "../../testdata/photos"

// goldenPhoto is what testdata/make_golden.py wrote of one photograph.
type goldenPhoto struct {
	Size    [2]int
	Decoded string
	Center  map[string]string
	RRC     []struct {
		Box    [4]int32
		Size   int
		Flip   bool
		Pixels string
	}
}

func readGolden(t *testing.T) map[string]goldenPhoto {
	t.Helper()
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g map[string]goldenPhoto
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func photo(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(photos, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func turboOrSkip(t testing.TB) Decoder {
	t.Helper()
	d, err := NewDecoderFamily(FamilyTurbo)
	if err != nil {
		t.Skip(err)
	}
	return d
}

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestEqualsPillowToTheByte(t *testing.T) {
	d := turboOrSkip(t)
	for name, want := range readGolden(t) {
		img, err := d.Decode(photo(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if [2]int{img.W, img.H} != want.Size || digest(img.Pix) != want.Decoded {
			t.Errorf("%s: decoded pixels differ from Pillow's (%dx%d, Pillow %v)", name, img.W, img.H, want.Size)
			continue
		}
		for size, pixels := range map[int]string{64: want.Center["64"], 224: want.Center["224"], 336: want.Center["336"]} {
			dst := make([]uint8, 3*size*size)
			p := NewCenter()
			if err := p.Render(dst, img, p.View([32]byte{}, 0, img.W, img.H), size); err != nil || digest(dst) != pixels {
				t.Errorf("%s: center view of %d pixels differs from Pillow's (%v)", name, size, err)
			}
		}
		for _, c := range want.RRC {
			dst := make([]uint8, 3*c.Size*c.Size)
			v := View{X: c.Box[0], Y: c.Box[1], W: c.Box[2], H: c.Box[3], Flip: c.Flip}
			if err := NewRRC(0.2, 0).Render(dst, img, v, c.Size); err != nil || digest(dst) != c.Pixels {
				t.Errorf("%s: crop %v to %d pixels differs from Pillow's (%v)", name, c.Box, c.Size, err)
			}
		}
	}
}

// Go's decoder is a fallback that does not smooth chroma. On the photographs it is 0.05 to 1.3 grey levels off on average.
func TestGoDecoderIsNear(t *testing.T) {
	d := turboOrSkip(t)
	for _, name := range []string{"china.jpg", "flower.jpg", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "rocket_444.jpg", "rocket_exif6.jpg", "rocket_grey.jpg", "rocket_progressive.jpg"} {
		want, err := d.Decode(photo(t, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := goDecoder{}.Decode(photo(t, name))
		if err != nil || got.W != want.W || got.H != want.H {
			t.Fatalf("%s: %v", name, err)
		}
		var sum float64
		most := 0
		for i, v := range want.Pix {
			most = max(most, int(v)-int(got.Pix[i]), int(got.Pix[i])-int(v))
			sum += math.Abs(float64(v) - float64(got.Pix[i]))
		}
		mean := sum / float64(len(want.Pix))
		t.Logf("%s: mean difference %.3f grey levels, greatest %d", name, mean, most)
		if mean > 2 {
			t.Errorf("%s: Go's decoder is %.2f grey levels off on average", name, mean)
		}
	}
}

func TestBadImages(t *testing.T) {
	jpeg, png := photo(t, "rocket.jpg"), photo(t, "chelsea.png")
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("hello"), "jpeg header only": jpeg[:600],
		"truncated jpeg": jpeg[:len(jpeg)/2], "truncated png": png[:len(png)/2], "magic only": jpeg[:3]} {
		for _, d := range []Decoder{NewDecoder(), goDecoder{}} {
			if img, err := d.Decode(data); err == nil {
				t.Errorf("%s: %s's decoder gave an image of %dx%d", name, d.Family(), img.W, img.H)
			}
		}
	}
}

// hugeTIFF is a file whose directory says 65535 x 65535.
func hugeTIFF(t *testing.T) []byte {
	data := bytes.Clone(format(t, "big_endian.tif"))
	for _, tag := range []string{"\x01\x00\x00\x04", "\x01\x01\x00\x04"} { // width and height, LONG
		copy(data[bytes.Index(data, []byte(tag))+8:], "\x00\x00\xff\xff")
	}
	return data
}

// Images of 28672 x 28672, 16384 x 16384 and the like in a few bytes are refused by their headers, before anything is allocated.
func TestBombs(t *testing.T) {
	png := bytes.Clone(format(t, "rgb8.png"))
	copy(png[16:], []byte{0, 0, 0x40, 0, 0, 0, 0x40, 0})
	binary.BigEndian.PutUint32(png[29:], crc32.ChecksumIEEE(png[12:29]))
	jpeg := bytes.Clone(format(t, "444.jpg"))
	copy(jpeg[bytes.Index(jpeg, []byte("\xff\xc0"))+5:], []byte{0x70, 0, 0x70, 0})
	huge := func(name string, at int, bytes ...byte) []byte {
		data := slices.Clone(format(t, name))
		copy(data[at:], bytes)
		return data
	}
	vp8 := bytes.Index(format(t, "lossy.webp"), []byte("\x9d\x01\x2a")) + 3
	vp8x := bytes.Index(format(t, "icc.webp"), []byte("VP8X")) + 12
	for name, data := range map[string][]byte{"png": png, "jpeg": jpeg,
		"webp": huge("lossy.webp", vp8, 0xff, 0x3f, 0xff, 0x3f), "webp canvas": huge("icc.webp", vp8x, 0xff, 0xff, 0, 0xff, 0xff, 0),
		"webp lossless": huge("lossless.webp", 21, 0xff, 0xff, 0xff, 0x0f), "gif": huge("plain.gif", 6, 0xff, 0xff, 0xff, 0xff),
		"bmp": huge("rgb.bmp", 18, 0, 0, 1, 0, 0, 0, 1, 0), "tiff": hugeTIFF(t)} {
		for _, d := range []Decoder{NewDecoder(), goDecoder{}} {
			if _, err := d.Decode(data); err == nil || !(strings.Contains(err.Error(), "limit") || strings.Contains(err.Error(), "pixel count")) {
				t.Errorf("%s with %s's decoder: %v", name, d.Family(), err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	entries, err := os.ReadDir("testdata/formats")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		f.Add(format(f, e.Name()))
	}
	decoders := []Decoder{NewDecoder(), goDecoder{}}
	f.Fuzz(func(t *testing.T, data []byte) {
		exifOrientation(data)
		if c, _, err := image.DecodeConfig(bytes.NewReader(data)); err != nil || c.Width*c.Height > 1<<18 {
			return // a large image costs time and shows nothing new
		}
		for _, d := range decoders {
			if img, err := d.Decode(data); err == nil && len(img.Pix) != 3*img.W*img.H {
				t.Fatalf("%d bytes for %dx%d", len(img.Pix), img.W, img.H)
			}
		}
	})
}

func FuzzTIFFOrientation(f *testing.F) {
	f.Add([]byte("II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tiffOrientation(data)
		xmpOrientation(data)
	})
}

// The outcome is part of the format: the same on every machine, for ever.
func TestViewsAreFixed(t *testing.T) {
	p, sha := NewRRC(0.2, 7), sha256.Sum256([]byte("image"))
	a, b := p.View(sha, 3, 500, 375), p.View(sha, 3, 500, 375)
	if a.X != b.X || a.W != b.W || a.Flip != b.Flip {
		t.Fatalf("%v then %v", a, b)
	}
	if c := p.View(sha, 4, 500, 375); c.X == a.X && c.Y == a.Y && c.W == a.W {
		t.Errorf("views 3 and 4 are the same crop %v", a)
	}
	want := View{Index: 3, X: goldenView[0], Y: goldenView[1], W: goldenView[2], H: goldenView[3], Flip: goldenFlip}
	if a.X != want.X || a.Y != want.Y || a.W != want.W || a.H != want.H || a.Flip != want.Flip {
		t.Errorf("view 3 is %+v, was %+v", a, want)
	}
}

func TestCropsAreDistributedAsAsked(t *testing.T) {
	p := NewRRC(0.2, 1)
	const n, w, h = 4000, 500, 375
	var area, logRatio, flips float64
	for i := range n {
		v := p.View(sha256.Sum256([]byte{byte(i), byte(i >> 8)}), 0, w, h)
		scale := float64(v.W) * float64(v.H) / (w * h)
		ratio := float64(v.W) / float64(v.H)
		if scale < 0.19 || scale > 1.01 || ratio < 0.74 || ratio > 1.35 {
			t.Fatalf("crop %+v: scale %.3f, ratio %.3f", v, scale, ratio)
		}
		area += scale / n
		logRatio += math.Log(ratio) / n
		if v.Flip {
			flips++
		}
	}
	// torchvision's algorithm gives 0.496 and 0.038 here (40,000 draws): large or tall boxes do not fit and are drawn again.
	if math.Abs(area-0.496) > 0.01 || math.Abs(logRatio-0.038) > 0.01 || math.Abs(flips/n-0.5) > 0.03 {
		t.Errorf("mean scale %.3f, mean log ratio %.3f, flipped %.3f", area, logRatio, flips/n)
	}
}

func TestExpSmall(t *testing.T) {
	for x := -2.8; x < 2.8; x += 0.01 {
		if got, want := expSmall(x), math.Exp(x); math.Abs(got-want) > 1e-14*want {
			t.Fatalf("exp(%g) = %g, want %g", x, got, want)
		}
	}
}

func TestLogSmall(t *testing.T) {
	for x := 1. / 16; x <= 16; x *= 1.01 {
		if got, want := logSmall(x), math.Log(x); math.Abs(got-want) > 1e-14 {
			t.Fatalf("log(%g) = %g, want %g", x, got, want)
		}
	}
}

func TestPolicyValidate(t *testing.T) {
	for _, p := range []Policy{{Name: "squash"}, NewRRC(0, 0), NewRRC(1.5, 0), {Name: RRC, MinScale: 0.1, MaxScale: 1, MinRatio: 2, MaxRatio: 1}} {
		if p.Validate() == nil {
			t.Errorf("%+v passed", p)
		}
	}
	if err := NewRRC(0.2, 0).Validate(); err != nil {
		t.Error(err)
	}
}

func TestRenderAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	img := &Image{W: 500, H: 375, Pix: make([]uint8, 3*500*375)}
	p, dst := NewRRC(0.2, 0), make([]uint8, 3*224*224)
	v := p.View([32]byte{}, 0, img.W, img.H)
	if n := testing.AllocsPerRun(20, func() { _ = p.Render(dst, img, v, 224) }); n > 0 {
		t.Errorf("%g allocations per view", n)
	}
}

// The benchmark's unit is one JPEG file of 640 x 427 pixels.
func BenchmarkDecodeAndView(b *testing.B) {
	d, data, p := NewDecoder(), photo(b, "china.jpg"), NewCenter()
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]uint8, 3*224*224)
		for pb.Next() {
			img, err := d.Decode(data)
			if err != nil {
				b.Error(err)
				return
			}
			_ = p.Render(dst, img, p.View([32]byte{}, 0, img.W, img.H), 224)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	d, data := NewDecoder(), photo(b, "china.jpg")
	for b.Loop() {
		if _, err := d.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

var (
	goldenView = [4]int32{29, 25, 460, 350}
	goldenFlip = false
)

func TestCenterOfAnotherScale(t *testing.T) {
	img := &Image{W: 90, H: 60, Pix: make([]uint8, 3*90*60)}
	for i := range img.Pix {
		img.Pix[i] = uint8(i * i / 7)
	}
	render := func(p Policy, size int) []uint8 {
		dst := make([]uint8, 3*size*size)
		if err := p.Render(dst, img, p.View([32]byte{}, 0, img.W, img.H), size); err != nil {
			t.Fatal(err)
		}
		return dst
	}
	// The middle 32 of 48 pixels are the middle of what is cut for 48.
	large, small := render(NewCenter(), 48), render(Policy{Name: Center, ShortEdge: 48}, 32)
	for y := range 32 {
		if row := large[3*(48*(y+8)+8):][:3*32]; !bytes.Equal(small[3*32*y:][:3*32], row) {
			t.Fatalf("row %d is another", y)
		}
	}
	// Stretching is what a random crop of the whole image does.
	whole := View{W: int32(img.W), H: int32(img.H)}
	want := make([]uint8, 3*32*32)
	if err := NewRRC(1, 0).Render(want, img, whole, 32); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(render(Policy{Name: Center, Stretch: true}, 32), want) {
		t.Error("a stretched view is another than the whole image's")
	}
	for _, p := range []Policy{{Name: Center, ShortEdge: -1}, {Name: Center, ShortEdge: 48, Stretch: true}} {
		if p.Validate() == nil {
			t.Errorf("%+v passes", p)
		}
	}
	if p := NewRRC(0.2, 1); p.Validate() != nil {
		t.Error("rrc")
	} else if p.Stretch = true; p.Validate() == nil {
		t.Error("a stretched random crop passes")
	}
}
