package source

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeTar makes a tar of name, content pairs.
func writeTar(t testing.TB, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: members[i], Size: int64(len(members[i+1])), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(members[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func putFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTarLabels(t *testing.T) {
	for name, c := range map[string]struct {
		members []string
		want    []string
	}{
		"names":      {[]string{"1.jpg", "", "1.cls", "dog", "2.jpg", "", "2.json", `{"cls": "cat"}`, "3.jpg", ""}, []string{"1.jpg 1", "2.jpg 0", "3.jpg -1"}},
		"bare json":  {[]string{"1.jpg", "", "1.json", "4"}, []string{"1.jpg 4"}},
		"no label":   {[]string{"1.jpg", "", "1.json", `{"caption": "a dog"}`}, []string{"1.jpg -1"}},
		"null":       {[]string{"1.jpg", "", "1.json", `{"label": null}`}, []string{"1.jpg -1"}},
		"bad json":   {[]string{"1.json", "{", "1.jpg", "", "2.jpg", ""}, []string{"1.jpg -1 label 1.json", "2.jpg -1"}},
		"bad cls":    {[]string{"1.cls", "\x00", "1.jpg", ""}, []string{"1.jpg -1 label 1.cls"}},
		"fraction":   {[]string{"1.json", "1.5", "1.jpg", ""}, []string{"1.jpg -1 label 1.json"}},
		"two views":  {[]string{"1.left.jpg", "", "1.right.jpg", "", "1.cls", "3"}, []string{"1.left.jpg 3", "1.right.jpg 3"}},
		"mac's junk": {[]string{"a/._1.jpg", "x", "a/1.jpg", ""}, []string{"a/1.jpg -1"}},
	} {
		s, err := Open(putFile(t, writeTar(t, c.members...)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := s.Scan(context.Background(), func(i Item) error {
			text := fmt.Sprint(strings.TrimPrefix(i.Key, "x.tar/"), " ", i.Label)
			if i.Err != nil {
				text += " " + strings.Split(i.Err.Error(), ":")[0]
				text = strings.TrimSuffix(text, " is neither a number nor a name")
			}
			got = append(got, text)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		expect(t, name, got, c.want)
	}
}

// What cannot be listed is not left out silently: a class link or a wildcard's folder whose mount is missing.
func TestMissingMounts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cat", "dog"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "x.tar"), writeTar(t, "1.jpg", "a"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nowhere/cow", filepath.Join(dir, "cow")); err != nil {
		t.Fatal(err)
	}
	for _, images := range []string{dir, filepath.Join(dir, "c*", "*.tar")} {
		if _, err := Open(images); err == nil || !strings.Contains(err.Error(), "cow: no such file") {
			t.Errorf("%s: %v", images, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "cow")); err != nil {
		t.Fatal(err)
	}
	for _, images := range []string{dir, filepath.Join(dir, "c*", "*.tar")} {
		if _, err := Open(images); err != nil {
			t.Error(err)
		}
	}
}

func TestTarErrors(t *testing.T) {
	good := writeTar(t, "1.jpg", strings.Repeat("a", 2000), "2.jpg", "b")
	for what, data := range map[string][]byte{"no tar": bytes.Repeat([]byte("hello"), 300), "cut in a body": good[:1500], "cut in a header": good[:2700],
		"cut between members": good[:2560], "empty": nil} {
		s, err := Open(putFile(t, data))
		if err != nil {
			t.Fatal(err)
		}
		err = s.Scan(context.Background(), func(Item) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "x.tar is damaged") || !strings.Contains(err.Error(), "take it out") {
			t.Errorf("%s: %v", what, err)
		}
	}
	path := putFile(t, good)
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"x.tar/3.jpg", "y.tar/1.jpg", "x.tar", `x.tar/\q`} {
		if _, err := s.Read(nil, key); err == nil {
			t.Errorf("%s was read", key)
		}
	}
	if data, err := s.Read(nil, "x.tar/2.jpg"); err != nil || string(data) != "b" { // without a Scan: the trainer's way
		t.Errorf("2.jpg is %q, %v", data, err)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(nil, "x.tar/2.jpg"); err == nil {
		t.Error("an image behind the end was read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "vanished") {
		t.Errorf("Check gives %v", err)
	}
	for path, want := range map[string]string{"x.tar.gz": "compressed", "*.jpg": "no .tar file", "{x,y}.tar": "no such file", "{x": "not closed"} {
		dir := t.TempDir()
		for _, name := range []string{"x.tar.gz", "x.jpg", "x.tar"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(filepath.Join(dir, path)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s) gives %v", path, err)
		}
	}
}

// A tar larger than a run: images are numbered by where they lie, and reading ahead touches nothing that it must not.
func TestRuns(t *testing.T) {
	path := putFile(t, nil)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range []int64{0, 100 << 20, 300 << 20, 600 << 20} { // sparse on disk; the bodies reach up to the next header
		size := []int64{100<<20 - 512, 200<<20 - 512, 300<<20 - 512, 3}[i]
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: fmt.Sprint(i, ".jpg"), Size: size, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b.Bytes(), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(600<<20 + 2048); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := s.Scan(context.Background(), func(i Item) error {
		got = append(got, fmt.Sprint(i.Key, " ", i.Run))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	expect(t, "runs", got, []string{"x.tar/0.jpg 1", "x.tar/1.jpg 1", "x.tar/2.jpg 2", "x.tar/3.jpg 3"})
	for run := range 5 {
		s.(Ahead).ReadAhead(context.Background(), run, 3)
	}
}

func FuzzTar(f *testing.F) {
	f.Add(writeTar(f, "1.jpg", "a", "1.cls", "7"))
	for _, name := range []string{"plain", "nested", "grouped"} {
		data, err := os.ReadFile("testdata/" + name + ".tar")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	path := filepath.Join(f.TempDir(), "x.tar")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		x, err := readTar(path)
		if err != nil {
			return
		}
		for i := range x.images {
			m := &x.images[i]
			if m.size < 0 || m.offset < 0 || m.offset+m.size > int64(len(data)) {
				t.Fatalf("%+v in %d bytes", m, len(data))
			}
			if x.find(m.name) == nil {
				t.Fatalf("%q is not found", m.name)
			}
		}
	})
}
