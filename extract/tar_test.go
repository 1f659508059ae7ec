package extract

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tarsOf packs a tree of two classes into n tar files with a .cls member per image, and gives their pattern.
func tarsOf(t *testing.T, images string, n int) string {
	t.Helper()
	dir := t.TempDir()
	var writers []*tar.Writer
	for i := range n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("part-%03d.tar", i)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		writers = append(writers, tar.NewWriter(f))
	}
	count := 0
	err := filepath.WalkDir(images, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		label := slices.Index([]string{"cat", "dog"}, filepath.Base(filepath.Dir(path)))
		w := writers[count%n]
		for name, body := range map[string][]byte{"jpg": data, "cls": []byte(fmt.Sprint(label))} {
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%06d.%s", count, name), Size: int64(len(body)), Mode: 0o644}); err != nil {
				return err
			}
			if _, err := w.Write(body); err != nil {
				return err
			}
		}
		count++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writers {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%s/part-{000..%03d}.tar", dir, n-1)
}

// contents are a store's rows without their keys, sorted.
func contents(rows map[string][]byte) []string {
	var all []string
	for _, r := range rows {
		all = append(all, string(r))
	}
	slices.Sort(all)
	return all
}

// Labels, views and features are those of the files, although keys and neighbours in a batch differ, with one worker and with two.
func TestTarsGiveTheRowsOfTheirFiles(t *testing.T) {
	images := pictures(t, 23)
	c := config(t, images)
	extract(t, c)
	want := contents(rows(t, c.Store))
	c.Images = tarsOf(t, images, 3)
	for _, parts := range []int{1, 2} {
		c.Store = filepath.Join(t.TempDir(), "store")
		for i := range parts {
			c.Part = Part{i, parts}
			extract(t, c)
		}
		if got := contents(rows(t, c.Store)); !slices.Equal(got, want) {
			t.Errorf("%d parts: %d rows, not those of the %d files", parts, len(got), len(want))
		}
	}
	c.Part = Part{0, 1}
	if s := extract(t, c); s.Views != 0 || s.Reused != 23 {
		t.Errorf("again: %+v", s)
	}
}
