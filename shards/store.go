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
	if err := s.Fits(m); err != nil {
		return nil, err
	}
	return s, nil
}

// Fits says whether rows of m may be added to the store; if not, the error names what differs.
func (s *Store) Fits(m Manifest) error {
	m.Producer.Schema = Schema
	if diff := s.manifest.Producer.Diff(m.Producer); len(diff) > 0 {
		return fmt.Errorf("store %s was made by another producer (%s): choose another --out, or the settings that made it", s.dir, strings.Join(diff, "; "))
	}
	if s.manifest.Grid != m.Grid || s.manifest.Dim != m.Dim || s.manifest.CLS != m.CLS {
		return fmt.Errorf("store %s holds a grid of %v with width %d (class token: %v), asked is %v with %d (%v): choose another --out",
			s.dir, s.manifest.Grid, s.manifest.Dim, s.manifest.CLS, m.Grid, m.Dim, m.CLS)
	}
	return nil
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
	// Features as Manifest.Encode makes them: Patches in a store of float16, Int8 and Scale in one of int8.
	Patches []uint16  // float16 bits, [P, D]
	Int8    []int8    // [P, D]
	Scale   []float32 // [P]
	CLS     []uint16  // float16 bits, [D]; nil where the teacher has no class token
}

// F32FromF16 widens src; it is exact.
func F32FromF16(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = half.FromF16(h)
	}
}
