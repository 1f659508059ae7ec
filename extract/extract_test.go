package extract

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mvptargets/extract/teacher"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

const tower = "teacher/testdata/tower.onnx"

// config is a job over images into a new store; the test is skipped where onnxruntime is missing.
func config(t *testing.T, images string) Config {
	t.Helper()
	if lines := teacher.Libraries(); !strings.HasPrefix(lines[0], "onnxruntime /") {
		t.Skip(lines[0])
	}
	return Config{Model: tower, Images: images, Store: filepath.Join(t.TempDir(), "store"), Features: teacher.Hidden, Views: 1,
		Policy: view.NewCenter(), Provider: "cpu", Precision: "f32", Batch: 4, Threads: 2, Part: Part{0, 1}, Log: slog.New(slog.DiscardHandler)}
}

func extract(t *testing.T, c Config) Summary {
	t.Helper()
	s, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rows reads a store's rows as "key view" -> all that is stored, and checks that the store verifies.
func rows(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	s, err := shards.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.Verify(context.Background(), nil)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("the store does not verify: %+v, %v", report, err)
	}
	index, err := s.Index()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	var b shards.Batch
	for _, ref := range index.Batches {
		if err := s.Reader().ReadBatch(ref, &b); err != nil {
			t.Fatal(err)
		}
		patches, cls := len(b.Patches)/b.Rows, len(b.CLS)/b.Rows
		for i := range b.Rows {
			var data bytes.Buffer
			v := b.View[i]
			fmt.Fprint(&data, v, b.Label[i], b.Image[i])
			binary.Write(&data, binary.LittleEndian, b.Patches[i*patches:(i+1)*patches])
			binary.Write(&data, binary.LittleEndian, b.CLS[i*cls:(i+1)*cls])
			all[fmt.Sprint(b.Key[i], " ", v.Index)] = data.Bytes()
		}
	}
	return all
}

func sameRows(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	for key, w := range want {
		if g, ok := got[key]; !ok {
			t.Errorf("row %s is missing", key)
		} else if !bytes.Equal(g, w) {
			t.Errorf("row %s differs", key)
		}
	}
}

// pictures writes n small JPEG files, no two alike, in two class folders.
func pictures(t *testing.T, n int) string {
	t.Helper()
	root := t.TempDir()
	for i := range n {
		m := image.NewRGBA(image.Rect(0, 0, 40+i%7, 36+i%5))
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				m.SetRGBA(x, y, color.RGBA{uint8(x * (3 + i)), uint8(y*5 + i), uint8(x*y + 31*i), 255})
			}
		}
		path := filepath.Join(root, []string{"cat", "dog"}[i%2], fmt.Sprintf("%04d.jpg", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFeaturesEqualPythonOnPillowsPixels(t *testing.T) {
	data, err := os.ReadFile("testdata/features.f32")
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, len(data)/4)
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, want); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("testdata/photos.txt")
	if err != nil {
		t.Fatal(err)
	}
	photos := strings.Fields(string(list))
	for _, provider := range []string{"cpu", "openvino"} {
		c := config(t, "testdata/photos.txt")
		if family := view.NewDecoder().Family(); family != view.FamilyTurbo {
			t.Skipf("the golden features are those of libjpeg-turbo's pixels, the decoder here is %s; run `make deps`", family)
		}
		c.Provider = provider
		extract(t, c)
		s, err := shards.Open(c.Store)
		if err != nil {
			t.Fatal(err)
		}
		index, err := s.Index()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		var b shards.Batch
		for _, ref := range index.Batches {
			if err := s.Reader().ReadBatch(ref, &b); err != nil {
				t.Fatal(err)
			}
			for i := range b.Rows {
				at := slices.Index(photos, b.Key[i]) * 17 * 16
				got := make([]float32, 17*16)
				shards.F32FromF16(got[:16], b.CLS[i*16:(i+1)*16])
				shards.F32FromF16(got[16:], b.Patches[i*256:(i+1)*256])
				for token := range 17 {
					if cos := cosine(got[token*16:][:16], want[at+token*16:][:16]); !(cos >= 0.9999) {
						t.Errorf("%s, %s, token %d: cosine %v to Python's", provider, b.Key[i], token, cos)
					}
				}
				seen++
			}
		}
		if seen != len(photos) {
			t.Errorf("%d rows of %d photographs", seen, len(photos))
		}
	}
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

func TestOneWorkerAndThreeHoldTheSameRows(t *testing.T) {
	images := pictures(t, 50)
	one := config(t, images)
	one.Policy, one.Views = view.NewRRC(0.2, 7).WithJitter(0.4, 0.4, 0.4, 0.1), 3
	if s := extract(t, one); s.Images != 50 || s.Views != 150 || s.Reused != 0 || s.Rejected != 0 || s.RowBytes == 0 {
		t.Errorf("summary %+v", s)
	}
	three := one
	three.Store = filepath.Join(t.TempDir(), "store")
	done := make(chan error)
	for i := range 3 {
		c := three
		c.Part, c.Batch, c.Loaders = Part{i, 3}, 1+2*i, 1+i
		go func() {
			_, err := Run(context.Background(), c)
			done <- err
		}()
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	sameRows(t, rows(t, three.Store), rows(t, one.Store))
}

func TestOnlyWhatIsMissingIsComputed(t *testing.T) {
	images := pictures(t, 12)
	c := config(t, images)
	c.Policy, c.Views = view.NewRRC(0.2, 7), 1
	want := func(what string, computed, reused int64) {
		t.Helper()
		if s := extract(t, c); s.Views != computed || s.Reused != reused {
			t.Errorf("%s: %d views computed and %d reused, want %d and %d", what, s.Views, s.Reused, computed, reused)
		}
	}
	file := func(name string) string { return filepath.Join(images, name) }
	want("new store", 12, 0)
	want("again", 0, 12)
	c.Views = 3
	want("more views", 24, 12)
	c.Views = 1
	want("fewer views", 0, 12)
	c.Rehash = true
	want("rehash", 0, 12)
	c.Rehash = false

	if err := os.Chtimes(file("cat/0000.jpg"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	want("touched, same bytes", 0, 12)

	// Bytes that change behind the same size and time are only seen by reading them.
	info, err := os.Stat(file("dog/0001.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file("dog/0001.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1]++ // the end mark: decoders do not mind
	if err := os.WriteFile(file("dog/0001.jpg"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file("dog/0001.jpg"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	want("changed in secret", 0, 12)
	c.Rehash = true
	s, err := Run(context.Background(), c)
	if err != nil && s.Rejected == 0 || s.Views+s.Rejected != 1 || s.Reused != 11 {
		t.Errorf("rehash of a changed file: %+v, %v", s, err)
	}
}

func TestBadImagesAreRecordedAndTheRestGoesOn(t *testing.T) {
	images := pictures(t, 10)
	for name, content := range map[string]string{"cat/empty.jpg": "", "dog/text.png": "no picture", "cat/cut.jpg": "\xff\xd8\xff\xe0\x00\x10JFIF"} {
		if err := os.WriteFile(filepath.Join(images, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere.jpg", filepath.Join(images, "cat", "dangling.jpg")); err != nil {
		t.Fatal(err)
	}
	c := config(t, images)
	s, err := Run(context.Background(), c)
	if err == nil || !strings.Contains(err.Error(), "4 of 14, over --max-reject-fraction 0;") || !strings.Contains(err.Error(), c.Store+"/rejects") {
		t.Errorf("gives %v", err)
	}
	if s.Views != 10 || s.Rejected != 4 || len(rows(t, c.Store)) != 10 {
		t.Errorf("summary %+v", s)
	}
	files, _ := filepath.Glob(c.Store + "/rejects/*.jsonl")
	lines := ""
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines += string(data)
	}
	for _, want := range []string{`"key":"cat/empty.jpg"`, `"key":"dog/text.png"`, `"key":"cat/cut.jpg"`, `"key":"cat/dangling.jpg"`, "empty file"} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %s in the rejects:\n%s", want, lines)
		}
	}
	c.MaxRejectFraction = 0.5
	if s, err := Run(context.Background(), c); err != nil || s.Reused != 10 || s.Views != 0 || s.Rejected != 4 {
		t.Errorf("the second run gives %+v, %v", s, err)
	}
}

func TestFeaturesBeyondFloat16RejectTheImage(t *testing.T) {
	c := config(t, pictures(t, 3))
	c.Model = "teacher/testdata/overflow.onnx"
	s, err := Run(context.Background(), c)
	if err == nil || s.Rejected != 3 || s.Views != 0 {
		t.Errorf("summary %+v, %v", s, err)
	}
	files, _ := filepath.Glob(c.Store + "/rejects/*.jsonl")
	if len(files) != 1 {
		t.Fatalf("rejects %v", files)
	}
	if data, _ := os.ReadFile(files[0]); !strings.Contains(string(data), "not finite in float16") {
		t.Errorf("rejects say %s", data)
	}
}

func TestRunErrors(t *testing.T) {
	images := pictures(t, 2)
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"missing model":   {func(c *Config) { c.Model = "nothing.onnx" }, "nothing.onnx does not exist"},
		"no vision tower": {func(c *Config) { c.Model = "teacher/testdata/text.onnx" }, "text.onnx is no vision tower"},
		"no features":     {func(c *Config) { c.Features = "logits" }, "does not offer --features logits"},
		"missing source":  {func(c *Config) { c.Images = "/nowhere/images" }, "/nowhere/images do not exist"},
		"empty source":    {func(c *Config) { c.Images = t.TempDir() }, "holds no images"},
		"store is a file": {func(c *Config) { c.Store = filepath.Join(images, "cat", "0000.jpg") }, "0000.jpg"},
		"precision":       {func(c *Config) { c.Precision = "bf16" }, "provider cpu computes in f32 only"},
	} {
		base := config(t, images)
		c.change(&base)
		_, err := Run(context.Background(), base)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, c.want)
		}
	}
}

func TestAStoreOfAnotherProducerIsRefused(t *testing.T) {
	c := config(t, pictures(t, 2))
	extract(t, c)
	c.Policy = view.NewRRC(0.5, 1)
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "policy") || !strings.Contains(err.Error(), c.Store) {
		t.Errorf("another policy: %v", err)
	}
	c.Policy, c.Model = view.NewCenter(), "teacher/testdata/external.onnx"
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "model") {
		t.Errorf("another model: %v", err)
	}
}

func TestASourceOfOtherClassesIsRefused(t *testing.T) {
	c := config(t, pictures(t, 2))
	extract(t, c)
	other := pictures(t, 2)
	if err := os.Rename(filepath.Join(other, "dog"), filepath.Join(other, "bird")); err != nil {
		t.Fatal(err)
	}
	c.Images = other
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "other classes") {
		t.Errorf("gives %v", err)
	}
}

// int8 keeps the direction of every patch of the photographs' features, as read back from the store.
func TestInt8StoresTheSameDirections(t *testing.T) {
	c := config(t, "testdata/photos.txt")
	f16, i8 := c, c
	i8.Encoding, i8.Store = shards.EncodingI8, filepath.Join(t.TempDir(), "store")
	extract(t, f16)
	sum := extract(t, i8)
	want, got := features(t, f16.Store), features(t, i8.Store)
	least := 1.0
	for key, w := range want {
		for p := 0; p < len(w); p += 16 {
			least = min(least, cosine(got[key][p:p+16], w[p:p+16]))
		}
	}
	if len(got) != len(want) || least < 0.9999 || math.Abs(least-sum.Cosine) > 1e-5 {
		t.Errorf("%d rows of %d, least cosine %.6f, the summary says %.6f", len(got), len(want), least, sum.Cosine)
	}
	if !strings.Contains(sum.String(), "least cosine") || strings.Contains(extract(t, f16).String(), "cosine") {
		t.Errorf("summary %s", sum)
	}
}

// features reads a store's patches, by key.
func features(t *testing.T, dir string) map[string][]float32 {
	t.Helper()
	s, err := shards.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := s.Index()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float32{}
	var b shards.Batch
	for _, ref := range index.Batches {
		if err := s.Reader().ReadBatch(ref, &b); err != nil {
			t.Fatal(err)
		}
		n := len(b.Patches) / b.Rows
		for i, key := range b.Key {
			all[key] = make([]float32, n)
			shards.F32FromF16(all[key], b.Patches[i*n:(i+1)*n])
		}
	}
	return all
}
