// Package atomicfile publishes files whole or not at all: content goes to a temporary name in the same folder, is flushed to
// disk, and takes its name by a rename that is flushed too.
package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempMark stands in the names of files that are not published; whoever lists a folder skips them.
const tempMark = ".tmp-"

// IsTemp reports whether name is one of a file that was never published.
func IsTemp(name string) bool { return strings.Contains(filepath.Base(name), tempMark) }

// File is a file on its way to publication. Write errors are kept and come back from Commit.
type File struct {
	*os.File
	path string
	done bool
	err  error
}

// Create starts a file that will be published at path.
func Create(path string) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempMark+"*")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o644); err != nil {
		return nil, err
	}
	return &File{File: f, path: path}, nil
}

// Write appends; after a failed write nothing can be published.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err != nil && f.err == nil {
		f.err = err
	}
	return n, err
}

// Commit publishes the file under the name given to Create.
func (f *File) Commit() error { return f.CommitAs(f.path) }

// CommitAs publishes the file as path, in the same folder. On an error nothing is visible and the temporary file is gone.
func (f *File) CommitAs(path string) error {
	err := f.err
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		f.Abort()
		return fmt.Errorf("write %s: %w", path, err)
	}
	f.done = true
	return syncDir(filepath.Dir(path))
}

// Abort removes the temporary file. After Commit it does nothing, so it can be deferred.
func (f *File) Abort() {
	if !f.done {
		f.done = true
		f.Close()
		os.Remove(f.Name())
	}
}

// Write publishes data at path.
func Write(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	f.Write(data)
	return f.Commit()
}

// WriteExclusive publishes data at path only if nothing is there; otherwise the error is fs.ErrExist. Of several writers one wins,
// and the others see its whole content.
func WriteExclusive(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	f.Write(data)
	if f.err != nil {
		return f.err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		if os.IsExist(err) {
			return fs.ErrExist
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
