// Package atomicfile writes files that are either absent or whole.
//
// Every file is written under a temporary name in the folder where it will live, synced, and then renamed or linked to
// its final name; the folder is synced last, so that a file seen after a crash or a power cut has all of its bytes.
// What a killed process leaves behind is only a file with a temporary name, which IsTemp recognizes.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tempPrefix starts the name of every unfinished file. The dot hides it from globs such as shards/*.arrow.
const tempPrefix = ".tmp-"

// IsTemp reports whether a file's base name is that of an unfinished file.
func IsTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// Write replaces path by a file that holds data.
func Write(path string, data []byte, perm os.FileMode) error {
	f, err := create(path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// WriteExclusive creates path with data. If path exists it is left alone and the error is fs.ErrExist.
func WriteExclusive(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CommitExclusive(path)
}

// File is a file that is not yet visible under its final name. It is not safe for concurrent use.
type File struct {
	f    *os.File
	path string // final path given to Create
	done bool   // committed or aborted
	err  error  // first write error: such a file is never published
}

// Create starts a file that will be published as path, or, with CommitAs, under another name in the same file system.
func Create(path string) (*File, error) { return create(path, 0o666) }

func create(path string, perm os.FileMode) (*File, error) {
	dir, base := filepath.Split(path)
	for range 1000 {
		temp := filepath.Join(dir, fmt.Sprintf("%s%s-%016x", tempPrefix, base, rand.Uint64()))
		f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
		return &File{f: f, path: path}, nil
	}
	return nil, fmt.Errorf("create %s: no free temporary name in its folder", path)
}

// Write appends p to the unfinished file.
func (f *File) Write(p []byte) (int, error) {
	if f.done {
		return 0, fmt.Errorf("write %s: %w", f.path, fs.ErrClosed)
	}
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.f.Write(p)
	if err != nil {
		f.err = fmt.Errorf("write %s: %w", f.path, err)
	}
	return n, f.err
}

// ReadAt reads back what was written.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Seek moves the place of the next Write.
func (f *File) Seek(offset int64, whence int) (int64, error) { return f.f.Seek(offset, whence) }

// Commit publishes the file under the path that was given to Create, replacing what is there.
func (f *File) Commit() error { return f.CommitAs(f.path) }

// CommitAs publishes the file as path, replacing what is there. After an error the file is still to be aborted.
func (f *File) CommitAs(path string) error { return f.publish(path, os.Rename) }

// CommitExclusive publishes the file as path unless path exists; then the error is fs.ErrExist and path is unchanged.
func (f *File) CommitExclusive(path string) error { return f.publish(path, linkExclusive) }

// publish syncs the file, moves it into place and syncs the folder that now names it.
func (f *File) publish(path string, move func(from, to string) error) error {
	if f.done {
		return fmt.Errorf("publish %s: %w", path, fs.ErrClosed)
	}
	if f.err != nil {
		return f.err
	}
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := move(f.f.Name(), path); err != nil {
		return fmt.Errorf("publish %s: %w", path, err)
	}
	f.done = true
	if err := f.f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// linkExclusive gives from the name to, which must be free, and drops the old name.
func linkExclusive(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// Abort removes the unfinished file. After a commit it does nothing.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	f.f.Close()
	os.Remove(f.f.Name())
}

// SyncDir makes the names in a folder durable. File systems that cannot sync a folder are taken as they are.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	err = d.Sync()
	if err == nil || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return fmt.Errorf("sync folder %s: %w", dir, err)
}
