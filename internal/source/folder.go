package source

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// folder is a class-per-folder tree or, where the folder itself holds images, a flat folder: then all images in and below
// it are taken, without labels.
type folder struct {
	root    string
	entries []fs.DirEntry // of the root, sorted by name
	flat    bool
	classes []string
}

func openFolder(path string) (Source, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	f := &folder{root: path, entries: entries}
	for _, e := range entries {
		if isImage(e.Name()) && !f.isDir(e.Name(), e) {
			f.flat = true
		}
	}
	if f.flat {
		return f, nil
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 { // a class whose mount is missing would shift the labels behind it
			if _, err := os.Stat(filepath.Join(path, e.Name())); err != nil {
				return nil, fmt.Errorf("images: %w; mend the link or take it out of the source", err)
			}
		}
		if f.isDir(e.Name(), e) {
			f.classes = append(f.classes, Escape(e.Name()))
		}
	}
	return f, nil
}

// isDir says whether the entry at the relative path is a folder, or a link to one.
func (f *folder) isDir(relative string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(filepath.Join(f.root, relative))
	return err == nil && info.IsDir()
}

func (f *folder) Classes() []string { return f.classes }

func (f *folder) Scan(ctx context.Context, each func(Item) error) error {
	if f.flat {
		return newWalk(ctx, f, NoLabel, each).entries("", f.entries)
	}
	label := int32(0)
	for _, e := range f.entries {
		if !f.isDir(e.Name(), e) {
			continue
		}
		if err := newWalk(ctx, f, label, each).folder(e.Name()); err != nil {
			return err
		}
		label++
	}
	return nil
}

// walk visits the images below a folder, following links. It enters each real folder once, so that links in a circle end.
type walk struct {
	ctx   context.Context
	f     *folder
	label int32
	each  func(Item) error
	seen  map[fileID]bool
}

func newWalk(ctx context.Context, f *folder, label int32, each func(Item) error) *walk {
	return &walk{ctx: ctx, f: f, label: label, each: each, seen: map[fileID]bool{}}
}

func (w *walk) folder(relative string) error {
	path := filepath.Join(w.f.root, relative)
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	if id := idOf(info); w.seen[id] {
		return nil
	} else {
		w.seen[id] = true
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("images: %w; make the folder readable or take it out of the source", err)
	}
	return w.entries(relative, entries)
}

func (w *walk) entries(relative string, entries []fs.DirEntry) error {
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		below := filepath.Join(relative, e.Name())
		var err error
		switch {
		case w.f.isDir(below, e):
			err = w.folder(below)
		case isImage(e.Name()):
			err = w.each(itemOf(Escape(below), filepath.Join(w.f.root, below), w.label))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) Read(buf []byte, key string) ([]byte, error) {
	relative, err := Unescape(key)
	if err != nil {
		return buf[:0], err
	}
	if !filepath.IsLocal(relative) {
		return buf[:0], fmt.Errorf("key %q leads out of %s", key, f.root)
	}
	return readFile(buf, filepath.Join(f.root, relative))
}

func (f *folder) Check() error {
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return fmt.Errorf("images vanished: %w", err)
	}
	if len(entries) == 0 && len(f.entries) > 0 {
		return fmt.Errorf("images vanished: %s is empty now; is it still mounted?", f.root)
	}
	return nil
}
