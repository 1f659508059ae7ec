package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestNothingHalfDoneIsVisible(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("half"))
	if n := names(t, dir); len(n) != 1 || !IsTemp(n[0]) {
		t.Fatalf("before Commit the folder holds %v", n)
	}
	f.Abort()
	if n := names(t, dir); len(n) != 0 {
		t.Fatalf("after Abort the folder holds %v", n)
	}
	if err := Write(filepath.Join(dir, "b"), []byte("whole")); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "b")); string(b) != "whole" || len(names(t, dir)) != 1 {
		t.Errorf("published %q among %v", b, names(t, dir))
	}
}

func TestFirstOfSeveralWritersWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.json")
	if err := WriteExclusive(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := WriteExclusive(path, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second writer got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "one" || len(names(t, filepath.Dir(path))) != 1 {
		t.Errorf("content %q among %v", b, names(t, filepath.Dir(path)))
	}
}

// A device that is full: the write fails, nothing is published, and the error names the file.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "a")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.File.Close()
	name := f.Name()
	f.File = full
	f.Write([]byte("x"))
	os.Remove(name)
	if err := f.Commit(); err == nil {
		t.Error("a full disk went unnoticed")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a file was published")
	}
}
