package shards

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mvptargets/internal/atomicfile"
	"mvptargets/internal/half"
	"mvptargets/shards/view"
)

// Store is a target store on disk. It is safe for concurrent use.
type Store struct {
	dir      string
	manifest Manifest
}

const (
	manifestFile = "store.json"
	shardsDir    = "shards"
	indexDir     = "index"
	rejectsDir   = "rejects"
	shardSuffix  = ".arrow"

	rejectsSuffix = ".jsonl"
)

// Create makes a store at dir, or joins the one there: several workers may call it at once and one of them writes store.json. A store
// of another producer, grid or width is refused with what differs.
func Create(dir string, m Manifest) (*Store, error) {
	m.Schema, m.Producer.Schema = Schema, Schema
	m.ProducerID = m.Producer.ID()
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("create store %s: %w", dir, err)
	}
	for _, d := range []string{shardsDir, indexDir, rejectsDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("create store %s: %w", dir, err)
		}
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	err = atomicfile.WriteExclusive(filepath.Join(dir, manifestFile), append(raw, '\n'))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create store %s: %w", dir, err)
	}
	s, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if diff := s.manifest.Producer.Diff(m.Producer); len(diff) > 0 {
		return nil, fmt.Errorf("store %s was made by another producer (%s): choose another --out, or the settings that made it", dir, strings.Join(diff, "; "))
	}
	if s.manifest.Grid != m.Grid || s.manifest.Dim != m.Dim || s.manifest.CLS != m.CLS {
		return nil, fmt.Errorf("store %s holds a grid of %v with width %d (class token: %v), asked is %v with %d (%v): choose another --out",
			dir, s.manifest.Grid, s.manifest.Dim, s.manifest.CLS, m.Grid, m.Dim, m.CLS)
	}
	return s, nil
}

// Open opens an existing store.
func Open(dir string) (*Store, error) {
	path := filepath.Join(dir, manifestFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no target store: it has no %s; make one with mvp-extract", dir, manifestFile)
	} else if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir}
	if err := json.Unmarshal(raw, &s.manifest); err != nil {
		return nil, fmt.Errorf("open store: %s is damaged: %w", path, err)
	}
	if err := s.manifest.validate(); err != nil {
		return nil, fmt.Errorf("open store: %s: %w", path, err)
	}
	return s, nil
}

// Manifest is what store.json says. Dir is the store's folder.
func (s *Store) Manifest() Manifest { return s.manifest }
func (s *Store) Dir() string        { return s.dir }

// Identity is what makes a row one of its kind.
type Identity struct {
	Key   string
	Image [32]byte // SHA-256 of the image file
	View  uint16
}

// Row is one view of one image on its way into the store.
type Row struct {
	Identity
	View            view.View
	Label           int32 // -1 for none
	Width, Height   int32 // of the image in pixels, after EXIF orientation; 0 where not known
	FileSize, MTime int64 // of the image file: bytes, nanoseconds since 1970
	Patches         []uint16
	CLS             []uint16 // nil where the teacher has no class token
}

// F16FromF32 rounds src to float16 (nearest, ties to even, subnormals kept) and says whether all of the results are finite.
func F16FromF32(dst []uint16, src []float32) bool {
	finite := true
	for i, f := range src {
		h := half.F16(f)
		dst[i] = h
		if h&0x7c00 == 0x7c00 {
			finite = false
		}
	}
	return finite
}

// F32FromF16 widens src; it is exact.
func F32FromF16(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = half.FromF16(h)
	}
}
