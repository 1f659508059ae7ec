package sample

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/internal/half"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

// made is a store of n images, two views each, of three labels; features of patch p of image i are (i, p).
func made(t *testing.T, n int) (*shards.Store, string) {
	t.Helper()
	images, dir := t.TempDir(), filepath.Join(t.TempDir(), "store")
	policy := view.NewRRC(0.5, 1)
	s, err := shards.Create(dir, shards.Manifest{Grid: [2]int{2, 2}, Dim: 2, Classes: []string{"a", "b", "c"}, Producer: shards.Producer{
		Features: "hidden", Precision: "f32", Size: 8, Policy: policy, Decoder: view.FamilyGo, Encoding: shards.EncodingF16}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer(shards.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m := image.NewRGBA(image.Rect(0, 0, 20, 16))
		for p := range m.Pix {
			m.Pix[p] = uint8(i)
		}
		for p := 3; p < len(m.Pix); p += 4 {
			m.Pix[p] = 255
		}
		var raw bytes.Buffer
		if err := png.Encode(&raw, m); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%03d.png", i)
		if err := os.WriteFile(filepath.Join(images, key), raw.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		sha := sha256.Sum256(raw.Bytes())
		for v := range uint16(2) {
			r := &shards.Row{Identity: shards.Identity{Key: key, Image: sha, View: v}, View: policy.View(sha, v, 20, 16), Label: int32(i % 3)}
			for p := range 4 {
				r.Patches = append(r.Patches, half.F16(float32(i)), half.F16(float32(p)))
			}
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return s, images
}

func TestFind(t *testing.T) {
	s, images := made(t, 30)
	samples, err := Find(t.Context(), s, images, Query{Count: 5, Size: 8})
	if err != nil || len(samples) != 5 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	labels := map[int32]bool{}
	for i, x := range samples {
		if i < 3 {
			labels[x.Label] = true
		}
		var n int
		fmt.Sscanf(x.Key, "%d.png", &n)
		if x.Pixels[0] != uint8(n) || len(x.Pixels) != 8*8*3 || x.Features[2] != float32(n) || x.Features[3] != 1 {
			t.Errorf("%s has pixels %v and features %v", x.Key, x.Pixels[:3], x.Features)
		}
	}
	if len(labels) != 3 {
		t.Errorf("the first three samples have labels %v, want three different ones", labels)
	}
}

func TestFindKey(t *testing.T) {
	s, images := made(t, 30)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Find(stopped, s, images, Query{Key: "017.png", Size: 8}); !errors.Is(err, context.Canceled) {
		t.Errorf("the search goes on when it is stopped: %v", err)
	}
	samples, err := Find(t.Context(), s, images, Query{Key: "017.png", Size: 8})
	if err != nil || len(samples) != 2 || samples[0].Key != "017.png" || samples[0].View.Index+samples[1].View.Index != 1 {
		t.Fatalf("%+v, %v; want both views of 017.png", samples, err)
	}
}

func TestFindErrors(t *testing.T) {
	s, images := made(t, 3)
	if err := os.WriteFile(filepath.Join(images, "001.png"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(images, "002.png")); err != nil {
		t.Fatal(err)
	}
	empty, _ := made(t, 0)
	for _, c := range []struct {
		store  *shards.Store
		images string
		query  Query
		want   string
	}{
		{s, images, Query{Key: "x.png", Size: 8}, `no image "x.png"`},
		{s, images, Query{Key: "001.png", Size: 8}, "image 001.png: the file has changed"},
		{s, images, Query{Key: "002.png", Size: 8}, "image 002.png: "},
		{s, images + "/none", Query{Count: 1, Size: 8}, "do not exist"},
		{empty, images, Query{Count: 1, Size: 8}, "no rows yet"},
	} {
		if _, err := Find(t.Context(), c.store, c.images, c.query); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v gives %v, want %s", c.query, err, c.want)
		}
	}
}

func TestWrite(t *testing.T) {
	s, images := made(t, 30)
	samples, err := Find(t.Context(), s, images, Query{Count: 5, Size: 8})
	if err != nil {
		t.Fatal(err)
	}
	pairs, basis, err := Pairs(s.Manifest(), samples, 8)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"a.png", "a.html"} {
		if err := Write(filepath.Join(dir, name), s, pairs, basis); err != nil {
			t.Fatal(err)
		}
	}
	raw, _ := os.ReadFile(filepath.Join(dir, "a.png"))
	m, err := png.Decode(bytes.NewReader(raw))
	if err != nil || m.Bounds().Dx() != 3*(2*cell+3*gap)+gap || m.Bounds().Dy() != 2*(cell+caption+gap)+gap {
		t.Fatalf("picture of %v, %v", m.Bounds(), err)
	}
	grey := samples[0].Pixels[0]
	if got := color.RGBAModel.Convert(m.At(gap+10, gap+10)); got != (color.RGBA{grey, grey, grey, 255}) {
		t.Errorf("the first view is %v, want grey %d", got, grey)
	}
	html, _ := os.ReadFile(filepath.Join(dir, "a.html"))
	if n := bytes.Count(html, []byte("data:image/png;base64,")); n != 10 || !bytes.Contains(html, []byte(samples[4].Key)) || bytes.Contains(html, []byte("ZgotmplZ")) {
		t.Errorf("the page has %d pictures:\n%.2000s", n, html)
	}
	if err := Write(filepath.Join(dir, "a.jpg"), s, pairs, basis); err == nil {
		t.Error("a.jpg was written")
	}
}
