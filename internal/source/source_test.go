package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// tree writes files (name -> content) below a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// scan opens a source and lists it as "key label".
func scan(t *testing.T, path string) (Source, []string) {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = s.Scan(context.Background(), func(i Item) error {
		text := fmt.Sprint(i.Key, " ", i.Label)
		if i.Err != nil {
			text += " unreadable"
		} else if data, err := s.Read(nil, i.Key); err != nil || int64(len(data)) != i.Size || i.MTime == 0 {
			t.Errorf("%s: read %d bytes of %d, mtime %d, %v", i.Key, len(data), i.Size, i.MTime, err)
		}
		got = append(got, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, got
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestClassPerFolder(t *testing.T) {
	root := tree(t, map[string]string{"dog/a.jpg": "1", "dog/deep/b.JPEG": "22", "cat/c.png": "3", "cat/notes.txt": "no", "README.md": "no"})
	if err := os.Mkdir(filepath.Join(root, "Empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, got := scan(t, root)
	expect(t, "images", got, []string{"cat/c.png 1", "dog/a.jpg 2", "dog/deep/b.JPEG 2"})
	expect(t, "classes", s.Classes(), []string{"Empty", "cat", "dog"})
}

func TestFlatFolder(t *testing.T) {
	s, got := scan(t, tree(t, map[string]string{"b.jpg": "1", "a.webp": "2", "more/c.png": "3"}))
	expect(t, "images", got, []string{"a.webp -1", "b.jpg -1", "more/c.png -1"})
	if s.Classes() != nil {
		t.Errorf("a flat folder has classes %q", s.Classes())
	}
}

func TestTextList(t *testing.T) {
	root := tree(t, map[string]string{"x/a.jpg": "1", "b.jpg": "2", "list.txt": "b.jpg\n./x/a.jpg\r\n\nmissing.jpg\n",
		"named.txt": "b.jpg\tdog\nx/a.jpg\tcat\n", "numbered.txt": "b.jpg\t7\nx/a.jpg\n"})
	s, got := scan(t, filepath.Join(root, "list.txt"))
	expect(t, "images", got, []string{"b.jpg -1", "x/a.jpg -1", "missing.jpg -1 unreadable"})
	if s.Classes() != nil {
		t.Errorf("classes %q", s.Classes())
	}
	s, got = scan(t, filepath.Join(root, "named.txt"))
	expect(t, "named labels", got, []string{"b.jpg 1", "x/a.jpg 0"})
	expect(t, "classes", s.Classes(), []string{"cat", "dog"})
	_, got = scan(t, filepath.Join(root, "numbered.txt"))
	expect(t, "numbered labels", got, []string{"b.jpg 7", "x/a.jpg -1"})

	absolute := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(absolute, []byte(root+"/b.jpg\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, got = scan(t, absolute)
	expect(t, "absolute path", got, []string{root + "/b.jpg -1"})
}

func TestLinksInACircleEnd(t *testing.T) {
	root := tree(t, map[string]string{"a/x.jpg": "1", "b/y.jpg": "2"})
	for link, target := range map[string]string{"a/up": "..", "a/self": ".", "b/other": "../a", "a/other": "../b", "a/gone.jpg": "nowhere.jpg", "c": "b"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	s, got := scan(t, root)
	expect(t, "classes", s.Classes(), []string{"a", "b", "c"})
	for _, want := range []string{"a/x.jpg 0", "a/gone.jpg 0 unreadable", "b/y.jpg 1", "c/y.jpg 2"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if len(got) > 20 {
		t.Errorf("%d images from 2", len(got))
	}
}

func TestSpecialFilesAreNotOpened(t *testing.T) {
	root := tree(t, map[string]string{"a.jpg": "1"})
	if err := syscall.Mkfifo(filepath.Join(root, "pipe.jpg"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, got := scan(t, root)
	expect(t, "images", got, []string{"a.jpg -1", "pipe.jpg -1 unreadable"})
	if _, err := s.Read(nil, "pipe.jpg"); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("reading a pipe gives %v", err)
	}
	if err := os.Remove(filepath.Join(root, "a.jpg")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(nil, "a.jpg"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading a vanished file gives %v", err)
	}
}

func TestNamesThatAreNoUTF8(t *testing.T) {
	name := "caf\xe9 \\ é.jpg"
	_, got := scan(t, tree(t, map[string]string{name: "1"}))
	expect(t, "images", got, []string{`caf\xe9 \\ é.jpg -1`})
}

func TestKeysStayInside(t *testing.T) {
	s, _ := scan(t, tree(t, map[string]string{"a.jpg": "1"}))
	if _, err := s.Read(nil, "../a.jpg"); err == nil || !strings.Contains(err.Error(), "leads out of") {
		t.Errorf("reading ../a.jpg gives %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	root := tree(t, map[string]string{"photo.jpg": "\xff\xd8\x00\x00"})
	for path, want := range map[string]string{root + "/none": "do not exist", root + "/photo.jpg": "are no text list", "/dev/null": "neither a folder nor a file"} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%s) gives %v", path, err)
		}
	}
}

func TestAVanishedSourceIsNoticed(t *testing.T) {
	root := tree(t, map[string]string{"a.jpg": "1"})
	s, _ := scan(t, root)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "vanished") {
		t.Errorf("Check gives %v", err)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a/b.jpg", `\`, `\x41`, "\xff\\x", "é\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key := Escape(s)
		if back, err := Unescape(key); err != nil || back != s {
			t.Errorf("%q became %q and came back as %q, %v", s, key, back, err)
		}
	})
}

func TestBadKeys(t *testing.T) {
	for _, key := range []string{`\`, `\x4`, `\xzz`, `\n`} {
		if _, err := Unescape(key); err == nil {
			t.Errorf("%q was taken", key)
		}
	}
}

func TestLabelsAreUTF8(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte("1.jpg\tcafe\n2.jpg\tcaf\xe9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "the label of line 2 is not UTF-8") {
		t.Errorf("a label in Latin-1 gave %v", err)
	}
}
