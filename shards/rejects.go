package shards

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"mvptargets/internal/atomicfile"
)

// Reject is a line of rejects/: an image that could not be used.
type Reject struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// Reject records an image that cannot be used. The line is published with the shard in flight.
func (w *Writer) Reject(key, reason string) error {
	line, err := json.Marshal(Reject{key, reason})
	if err != nil {
		return err
	}
	w.rejects.Write(append(line, '\n'))
	return nil
}

func (w *Writer) publishRejects() error {
	if w.rejects.Len() == 0 {
		return nil
	}
	sum := sha256.Sum256(w.rejects.Bytes())
	path := filepath.Join(w.store.dir, rejectsDir, hex.EncodeToString(sum[:])+rejectsSuffix)
	err := atomicfile.Write(path, w.rejects.Bytes(), 0o644)
	w.rejects.Reset()
	return err
}

// Rejects gives every line of rejects/ once, in the order of the files' names. An image may be there that a later run could use.
func (s *Store) Rejects() ([]Reject, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, rejectsDir))
	if err != nil {
		return nil, fmt.Errorf("list rejects: %w", err)
	}
	var all []Reject
	seen := map[Reject]bool{}
	for _, e := range entries {
		if atomicfile.IsTemp(e.Name()) || !strings.HasSuffix(e.Name(), rejectsSuffix) {
			continue
		}
		path := filepath.Join(s.dir, rejectsDir, e.Name())
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read rejects: %w", err)
		}
		for d := json.NewDecoder(bytes.NewReader(raw)); ; {
			var r Reject
			if err := d.Decode(&r); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s is damaged: %w; it can be removed, the images will be tried again", path, err)
			}
			if !seen[r] {
				seen[r] = true
				all = append(all, r)
			}
		}
	}
	return all, nil
}
