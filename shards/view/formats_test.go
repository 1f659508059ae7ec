package view

import (
	"bytes"
	"encoding/json"
	"image"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "golang.org/x/image/webp" // for image.DecodeConfig
)

// refused are the kinds that Pillow reads and this package does not, with what the error says. Each costs its image, not the job.
var refused = map[string]string{
	"rgb555.bmp": "unsupported BMP", "rgb565.bmp": "unsupported BMP", "fields555.bmp": "unsupported BMP", "fields32.bmp": "unsupported BMP",
	"rle8.bmp": "unsupported BMP", "rle8_literal.bmp": "unsupported BMP", "rle4.bmp": "unsupported BMP", "os2.bmp": "unsupported BMP",
	"outside.gif": "larger than image bounds", "jpeg.tif": "compression value 7", "zstd.tif": "compression value 50000",
	"cmyk.tif": "color model", "ycbcr.tif": "color model", "grey4.tif": "BitsPerSample of 4", "planar.tif": "not enough pixel data",
	"float.tif": "sample format", "big.tif": "none of JPEG, PNG",
}

// Every kind of file that testdata/make_formats.py makes: Pillow's bytes, and an error where Pillow gives one.
func TestFormatsEqualPillow(t *testing.T) {
	d := turboOrSkip(t)
	for name, want := range readFormats(t) {
		(&Image{Pix: bytes.Repeat([]byte{0xaa}, 1<<20)}).Release() // what memory held before must not show
		img, err := d.Decode(format(t, name))
		switch {
		case refused[name] != "":
			if err == nil || !strings.Contains(err.Error(), refused[name]) {
				t.Errorf("%s: %v, want an error with %q", name, err, refused[name])
			}
		case want == nil && err == nil:
			t.Errorf("%s: decoded, Pillow refuses it", name)
		case want == nil:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			if img.W != want.w || img.H != want.h || digest(img.Pix) != want.pixels {
				t.Errorf("%s: %dx%d pixels differ from Pillow's %dx%d", name, img.W, img.H, want.w, want.h)
			}
		}
	}
}

// What is no JPEG does not depend on the family of its decoder.
func TestOtherFormatsInBothFamilies(t *testing.T) {
	for name, want := range readFormats(t) {
		if strings.HasSuffix(name, ".jpg") || want == nil || refused[name] != "" {
			continue
		}
		img, err := goDecoder{}.Decode(format(t, name))
		if err != nil || digest(img.Pix) != want.pixels {
			t.Errorf("%s: not Pillow's pixels (%v)", name, err)
		}
	}
}

type goldenFormat struct {
	w, h   int
	pixels string
}

func (g *goldenFormat) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&g.w, &g.h, &g.pixels})
}

func readFormats(t *testing.T) map[string]*goldenFormat {
	t.Helper()
	raw, err := os.ReadFile("testdata/formats.json")
	if err != nil {
		t.Fatal(err)
	}
	var g map[string]*goldenFormat
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func format(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/formats", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Thousands of damaged files: an error or an image of the stated size, never a panic, and no trace in the files decoded after.
// A RIFF length that ends within its own header, as a writer leaves it that cannot go back.
func TestWebPWithoutLength(t *testing.T) {
	for length := range 5 {
		data := append([]byte("RIFF"), byte(length), 0, 0, 0)
		if _, err := NewDecoder().Decode(append(data, "WEBPVP8 "...)); err == nil || !strings.Contains(err.Error(), "truncated") && length < 4 {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

// A decoder that panics costs one image, not the job.
func TestDecoderPanics(t *testing.T) {
	if _, err := decode([]byte("\xff\xd8\xff"), func([]byte) (*Image, error) { panic("out of range") }); err == nil || !strings.Contains(err.Error(), "failed on it: out of range") {
		t.Errorf("a panic gave %v", err)
	}
}

func TestDamagedFiles(t *testing.T) {
	entries, err := os.ReadDir("testdata/formats")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	decoders := []Decoder{NewDecoder(), goDecoder{}}
	for range 4000 {
		e := entries[r.IntN(len(entries))]
		data := format(t, e.Name())
		for range 1 + r.IntN(4) {
			data[r.IntN(len(data))] = byte(r.IntN(256))
		}
		if r.IntN(4) == 0 {
			data = data[:r.IntN(len(data))]
		}
		if c, _, err := image.DecodeConfig(bytes.NewReader(data)); err == nil && c.Width*c.Height > 1<<18 {
			continue // large images take time and show nothing new
		}
		for _, d := range decoders {
			if img, err := d.Decode(data); err == nil && len(img.Pix) != 3*img.W*img.H {
				t.Fatalf("%s damaged: %d bytes for %dx%d", e.Name(), len(img.Pix), img.W, img.H)
			}
		}
	}
	for name, want := range readFormats(t) {
		if img, err := NewDecoder().Decode(format(t, name)); want != nil && refused[name] == "" && NewDecoder().Family() == FamilyTurbo && (err != nil || digest(img.Pix) != want.pixels) {
			t.Errorf("%s: decoded otherwise after damaged files (%v)", name, err)
		}
	}
}
