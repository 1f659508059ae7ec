// Package source finds the images of a data set and reads their bytes, for both stages.
//
// A source is a class-per-folder tree, a flat folder, a text list or the tar files of a WebDataset. Every image has a key: its
// path relative to the source, with slashes, in which bytes that are no UTF-8 are escaped (see Escape). Labels of a tree are
// those of torchvision's ImageFolder: the index of the class folder's name among all of them, sorted.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// NoLabel is the label of an image without one.
const NoLabel = -1

// Item is one image of a source.
type Item struct {
	Key   string
	Label int32 // index into Classes, or NoLabel
	Size  int64 // bytes
	MTime int64 // last change of the file, ns since 1970
	Run   int   // images with one number lie near each other in one file, and are best read about the same time; 0 for none
	Err   error // why it cannot be read, as far as scanning showed; such an item has nothing but a key
}

// Source is a set of images.
type Source interface {
	// Scan calls each for every image, in an order that only depends on the source. It reads no image.
	Scan(ctx context.Context, each func(Item) error) error
	// Classes are the names of the labels, once Scan is through; nil where the source has none.
	Classes() []string
	// Read reads an image's bytes into buf, which grows as needed. Safe for concurrent use.
	Read(buf []byte, key string) ([]byte, error)
	// Check says whether the source as a whole is still there, after a Read that failed.
	Check() error
}

// Ahead is a source with runs: files that many images share.
type Ahead interface {
	// ReadAhead brings a run of the last Scan, of which wanted bytes will be read, nearer. It takes as long as reading it does.
	ReadAhead(ctx context.Context, run int, wanted int64)
}

// Extensions of files taken for images, in lower case.
var extensions = map[string]bool{
	".jpg": true, ".jpeg": true, ".png": true, ".webp": true, ".bmp": true, ".gif": true, ".tif": true, ".tiff": true,
}

const remedy = "a source is a folder of images, a folder with a folder of images per class, a text file that lists images, or .tar files of a WebDataset"

// Open tells what kind of source path is.
func Open(path string) (Source, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isPattern(path):
		pattern := filepath.Clean(path)
		files, err := expandPattern(pattern)
		if err != nil {
			return nil, err
		}
		return openTars(patternRoot(pattern), files)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("images %s do not exist; %s", path, remedy)
	case err != nil:
		return nil, fmt.Errorf("images: %w", err)
	case info.IsDir():
		return openFolder(path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("images %s are neither a folder nor a file; %s", path, remedy)
	}
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".tar":
		return openTars(path[:len(path)-len(filepath.Base(path))], []string{path})
	case ".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip":
		return nil, fmt.Errorf("images %s are compressed, so that no image can be read alone; give the .tar itself (JPEG does not compress)", path)
	}
	return openList(path)
}

// isImage goes by the name, as torchvision does; what the bytes are shows at decoding.
func isImage(name string) bool {
	return extensions[strings.ToLower(filepath.Ext(name))]
}

// itemOf describes the file at path, following links.
func itemOf(key, path string, label int32) Item {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return Item{Key: key, Label: label, Err: err}
	}
	return Item{Key: key, Label: label, Size: info.Size(), MTime: info.ModTime().UnixNano()}
}

// maxFileBytes bounds what one image may make us hold.
const maxFileBytes = 1 << 30

// readFile reads a whole file into buf.
func readFile(buf []byte, path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not keep us waiting
	if err != nil {
		return buf[:0], err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return buf[:0], err
	}
	if !info.Mode().IsRegular() {
		return buf[:0], fmt.Errorf("%s is no regular file", path)
	}
	if info.Size() > maxFileBytes {
		return buf[:0], fmt.Errorf("%s has %d bytes, more than an image may (%d)", path, info.Size(), maxFileBytes)
	}
	return readInto(buf, f, int(info.Size()))
}

// readInto reads exactly size bytes.
func readInto(buf []byte, r io.Reader, size int) ([]byte, error) {
	if cap(buf) < size {
		buf = make([]byte, size, size+size/4)
	}
	buf = buf[:size]
	_, err := io.ReadFull(r, buf)
	return buf, err
}
