package view

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every kind of file that testdata/make_formats.py makes: Pillow's bytes, and an error where Pillow gives one.
func TestFormatsEqualPillow(t *testing.T) {
	d := turboOrSkip(t)
	for name, want := range readFormats(t) {
		img, err := d.Decode(format(t, name))
		switch {
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

// PNG does not depend on the family of the JPEG decoder.
func TestPNGInBothFamilies(t *testing.T) {
	for name, want := range readFormats(t) {
		if !strings.HasSuffix(name, ".png") || want == nil {
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
