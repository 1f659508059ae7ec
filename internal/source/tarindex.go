package source

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// tarIndex is where a tar's images lie.
type tarIndex struct {
	images []tarImage // in the order of the file
	byName []int32    // numbers of images, sorted by name
	mtime  int64      // of the tar: members' own times are often all the same
}

type tarImage struct {
	name         string
	offset, size int64
	label        string // "" for none
	err          error  // why it cannot be used
}

// sample is a group of neighbouring members whose names are equal up to the first dot of their last element, as in the
// webdataset library (tariterators.py, base_plus_ext and group_by_keys). What follows that dot, in lower case, is a member's
// suffix.
type sample struct {
	prefix  string
	members []sampleMember
}

type sampleMember struct {
	tarImage
	suffix string
}

var (
	prefixAndSuffix = regexp.MustCompile(`^((?:.*/|)[^.]+)[.]([^/]*)$`)
	metaName        = regexp.MustCompile(`^__[^/]*__($|/)`) // skipped by webdataset
)

// readTar reads a tar's headers and labels, and skips over everything else.
func readTar(name string) (*tarIndex, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	x := &tarIndex{mtime: info.ModTime().UnixNano()}
	r, current := tar.NewReader(f), sample{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			if err := tarEnds(f); err != nil {
				return nil, fmt.Errorf("images: %s is damaged or no tar file: %w; make it again or take it out of the source", name, err)
			}
			break
		}
		offset, seekErr := f.Seek(0, io.SeekCurrent) // the reader takes whole blocks: the body starts here
		if err = errors.Join(err, seekErr); err == nil && !isSparse(h) && h.Size > info.Size()-offset {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("images: %s is damaged or no tar file, at byte %d: %w; make it again or take it out of the source", name, offset, err)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse || metaName.MatchString(h.Name) {
			continue
		}
		parts := prefixAndSuffix.FindStringSubmatch(h.Name)
		if parts == nil {
			continue
		}
		if parts[1] != current.prefix {
			x.add(f, &current)
			current = sample{prefix: parts[1]}
		}
		m := sampleMember{tarImage{name: h.Name, offset: offset, size: h.Size}, strings.ToLower(parts[2])}
		if isSparse(h) {
			m.size, m.err = 0, fmt.Errorf("%s is stored sparsely in %s; make the tar without --sparse", h.Name, name)
		}
		current.members = append(current.members, m)
	}
	x.add(f, &current)
	x.sort()
	return x, nil
}

// tarEnds refuses a tar that ends without the block of zeros that closes one: it is empty, or was cut between two members. f is where the
// reader has stopped.
func tarEnds(f *os.File) error {
	const size = 512
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	var block [size]byte
	if _, err := f.ReadAt(block[:], max(at-size, 0)); err != nil || block != [size]byte{} {
		return errors.New("its end is missing")
	}
	return nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (x *tarIndex) sort() {
	x.byName = make([]int32, len(x.images))
	for i := range x.byName {
		x.byName[i] = int32(i)
	}
	slices.SortStableFunc(x.byName, func(a, b int32) int { return strings.Compare(x.images[a].name, x.images[b].name) })
}

// add takes a sample's images with its label.
func (x *tarIndex) add(f io.ReaderAt, s *sample) {
	images := s.images()
	if len(images) == 0 {
		return
	}
	label, err := s.label(f)
	for _, m := range images {
		m.label = label
		if m.err == nil {
			m.err = err
		}
		x.images = append(x.images, m)
	}
}

// suffixes are those of images, the likelier one first: a sample with a JPEG and a PNG is a photograph with a mask.
var suffixes = []string{"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"}

// images is the one member whose suffix is an image's; where there is none, all whose last ending is one, as of 7.left.jpg.
func (s *sample) images() []tarImage {
	for _, suffix := range suffixes {
		for _, m := range s.members {
			if m.suffix == suffix {
				return []tarImage{m.tarImage}
			}
		}
	}
	var all []tarImage
	for _, m := range s.members {
		if isImage(m.name) && !strings.HasPrefix(path.Base(m.name), ".") {
			all = append(all, m.tarImage)
		}
	}
	return all
}

const maxLabelBytes = 1 << 20 // of a .cls or .json member

// label is the text of the sample's .cls member or, without one, what its .json member is or has as "label", "cls" or "class".
func (s *sample) label(f io.ReaderAt) (string, error) {
	for _, suffix := range []string{"cls", "json"} {
		for _, m := range s.members {
			if m.suffix != suffix {
				continue
			}
			if m.err != nil || m.size > maxLabelBytes {
				return "", fmt.Errorf("label %s has %d bytes or is stored sparsely", m.name, m.size)
			}
			text := make([]byte, m.size)
			if _, err := f.ReadAt(text, m.offset); err != nil {
				return "", fmt.Errorf("label %s: %w", m.name, err)
			}
			if suffix == "json" {
				return jsonLabel(m.name, text)
			}
			label := strings.TrimSpace(string(text))
			if label == "" || !utf8.ValidString(label) || strings.ContainsFunc(label, func(r rune) bool { return r < ' ' }) {
				return "", fmt.Errorf("label %s is neither a number nor a name", m.name)
			}
			return label, nil
		}
	}
	return "", nil
}

func jsonLabel(name string, text []byte) (string, error) {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return "", fmt.Errorf("label %s: %w", name, err)
	}
	if fields, ok := value.(map[string]any); ok {
		value = nil
		for _, field := range []string{"label", "cls", "class"} {
			if v, ok := fields[field]; ok {
				value = v
				break
			}
		}
	}
	switch v := value.(type) {
	case string:
		return v, nil
	case float64:
		if v == float64(int64(v)) {
			return fmt.Sprint(int64(v)), nil
		}
		return "", fmt.Errorf("label %s: %g is no whole number", name, v)
	}
	return "", nil
}
