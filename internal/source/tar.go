package source

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// tars is a WebDataset: tar files whose members are grouped into samples (see sample). A key is the tar's path relative to the
// pattern's folder, a slash, and the member's name. Nothing is ever unpacked: one pass over a tar's headers, at its first use,
// keeps where each image lies, and Read reads those bytes.
type tars struct {
	files   []*tarFile
	byName  map[string]*tarFile
	runs    []run // of the last Scan
	classes []string
}

// tarFile is one tar and, once it has been asked for, its index.
type tarFile struct {
	path, name string
	index      func() (*tarIndex, error)
}

// runBytes is how much of a tar makes one run (see Item.Run): long enough to read at a disk's full speed and to mix some
// thousand images, short enough to stay in the page cache.
const runBytes = 256 << 20

// run is a stretch of a tar.
type run struct {
	file     *tarFile
	from, to int64 // bytes
}

// openTars opens the tar files at paths, whose names in keys are relative to root: "" or a folder with a slash at its end.
func openTars(root string, paths []string) (Source, error) {
	t := &tars{byName: map[string]*tarFile{}}
	for _, path := range paths {
		if ext := filepath.Ext(path); !strings.EqualFold(ext, ".tar") {
			return nil, fmt.Errorf("images: %s is no .tar file; %s", path, remedy)
		}
		f := &tarFile{path: path, name: strings.TrimPrefix(path, root)}
		f.index = sync.OnceValues(func() (*tarIndex, error) { return readTar(f.path) })
		t.files = append(t.files, f)
		t.byName[f.name] = f
	}
	return t, nil
}

func (t *tars) Classes() []string { return t.classes }

// Scan reads the headers of all tars first, since names of classes have numbers only once all are known.
func (t *tars) Scan(ctx context.Context, each func(Item) error) error {
	labels := map[string]bool{}
	for _, f := range t.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		index, err := f.index()
		if err != nil {
			return err
		}
		for i := range index.images {
			if l := index.images[i].label; l != "" {
				labels[l] = true
			}
		}
	}
	number, classes, err := numberLabels(labels)
	if err != nil {
		return fmt.Errorf("images %s: %w", t.files[0].path, err)
	}
	t.classes, t.runs = classes, nil
	for _, f := range t.files {
		if err := t.scanFile(ctx, f, number, each); err != nil {
			return err
		}
	}
	return nil
}

func (t *tars) scanFile(ctx context.Context, f *tarFile, number map[string]int32, each func(Item) error) error {
	index, err := f.index()
	if err != nil {
		return err
	}
	stretch := int64(-1)
	for i := range index.images {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := &index.images[i]
		if at := m.offset / runBytes; at != stretch {
			stretch = at
			t.runs = append(t.runs, run{file: f, from: m.offset})
		}
		t.runs[len(t.runs)-1].to = m.offset + m.size
		item := Item{Key: Escape(f.name + "/" + m.name), Label: NoLabel, Size: m.size, MTime: index.mtime, Run: len(t.runs), Err: m.err}
		if m.label != "" {
			item.Label = number[m.label]
		}
		if err := each(item); err != nil {
			return err
		}
	}
	return nil
}

// find gives the image of a key and its tar. No tar's name is the beginning of another's path, since a file is no folder.
func (t *tars) find(key string) (*tarFile, *tarImage, error) {
	path, err := Unescape(key)
	if err != nil {
		return nil, nil, err
	}
	for at := 0; at < len(path); at++ {
		if path[at] != '/' {
			continue
		}
		f := t.byName[path[:at]]
		if f == nil {
			continue
		}
		index, err := f.index()
		if err != nil {
			return nil, nil, err
		}
		if m := index.find(path[at+1:]); m != nil {
			return f, m, nil
		}
		return nil, nil, fmt.Errorf("%s has no image %s", f.path, path[at+1:])
	}
	return nil, nil, fmt.Errorf("no tar of the source holds %s", key)
}

// Read opens the tar anew for each image, as a folder of files does: no limit on open files is ever near.
func (t *tars) Read(buf []byte, key string) ([]byte, error) {
	f, m, err := t.find(key)
	if err != nil {
		return buf[:0], err
	}
	if m.err != nil {
		return buf[:0], m.err
	}
	if m.size > maxFileBytes {
		return buf[:0], fmt.Errorf("%s has %d bytes, more than an image may (%d)", key, m.size, maxFileBytes)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return buf[:0], err
	}
	defer file.Close()
	return readInto(buf, io.NewSectionReader(file, m.offset, m.size), int(m.size))
}

// ReadAhead reads the run once from end to end, if at least a quarter of its bytes are wanted, so that its images come from the
// page cache whatever their order.
func (t *tars) ReadAhead(ctx context.Context, number int, wanted int64) {
	if number < 1 || number > len(t.runs) {
		return
	}
	r := t.runs[number-1]
	if wanted < (r.to-r.from)/4 {
		return
	}
	file, err := os.Open(r.file.path)
	if err != nil {
		return // Read will tell
	}
	defer file.Close()
	buf := make([]byte, 1<<20)
	for at := r.from; at < r.to && ctx.Err() == nil; at += int64(len(buf)) {
		if _, err := file.ReadAt(buf, at); err != nil {
			return
		}
	}
}

func (t *tars) Check() error {
	for _, f := range t.files {
		if _, err := os.Stat(f.path); err != nil {
			return fmt.Errorf("images vanished: %w", err)
		}
	}
	return nil
}

// find looks an image up by its member's name; of several with one name the first counts.
func (x *tarIndex) find(name string) *tarImage {
	i, ok := slices.BinarySearchFunc(x.byName, name, func(n int32, name string) int { return strings.Compare(x.images[n].name, name) })
	if !ok {
		return nil
	}
	return &x.images[x.byName[i]]
}
