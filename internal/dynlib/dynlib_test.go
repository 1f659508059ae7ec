package dynlib

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

func TestOpensSystemLibrary(t *testing.T) {
	l, err := Spec{Name: "libm", Sonames: []string{"libm.so.6"}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(l.Path()) {
		t.Errorf("path %q is not the file that was loaded", l.Path())
	}
	var cos unsafe.Pointer
	if err := l.Syms(map[string]*unsafe.Pointer{"cos": &cos}); err != nil || cos == nil {
		t.Errorf("cos: %v, %v", cos, err)
	}
	if _, err := l.Sym("no_such_function"); err == nil || !strings.Contains(err.Error(), l.Path()) {
		t.Errorf("a missing symbol gave %v", err)
	}
}

func TestMissingLibraryIsOneLine(t *testing.T) {
	s := Spec{Name: "oneDNN", Sonames: []string{"libnone.so.3"}, Env: "MVP_TEST_NONE", Remedy: "run `make deps`"}
	for _, override := range []string{"", "/nowhere/libnone.so", t.TempDir()} {
		t.Setenv("MVP_TEST_NONE", override)
		_, err := s.Open()
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{"oneDNN", "libnone.so", "MVP_TEST_NONE", "make deps", override} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not name %q", err, want)
			}
		}
	}
}

// A file that is no library is passed over with its reason, and the next candidate is used.
func TestDepsComeFirstAndDamagedOnesArePassedOver(t *testing.T) {
	deps := t.TempDir()
	if err := os.WriteFile(filepath.Join(deps, "libm.so.6"), []byte("not ELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MVP_DEPS", deps)
	if got := DepsDirs()[0]; got != deps {
		t.Errorf("MVP_DEPS is %s, the first folder is %s", deps, got)
	}
	l, err := Spec{Name: "libm", Sonames: []string{"libm.so.6"}, Globs: []string{"libm.so*"}}.Open()
	if err != nil || strings.HasPrefix(l.Path(), deps) {
		t.Errorf("opened %v, %v", l, err)
	}
}
