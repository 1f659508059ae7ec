package shards

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"mvptargets/internal/atomicfile"
)

// BatchRef names a record batch of the store. Its Rows are those that count: repeated identities are dropped when it is read.
type BatchRef struct {
	Shard string // its digest in hex
	BatchInfo
	drop []int32 // places of the rows that repeat an identity, ascending
	size int64   // of the shard
}

// ShardInfo sums up a shard.
type ShardInfo struct {
	Name          string // its digest in hex
	Bytes         int64
	Batches, Rows int    // Rows without Repeats
	Repeats       int    // rows whose identity a shard before it, or a row before it, has
	Library       string // provider and versions that computed it
}

// Index is all sidecars in memory: which rows there are and where. Of rows with the same identity the one that comes first
// counts, shards taken by name.
type Index struct {
	Batches []BatchRef // with rows that count; by shard name, then place
	Shards  []ShardInfo
	Rows    int         // distinct identities
	Repeats int         // rows that are dropped
	Views   map[int]int // rows that count, by view

	rows   map[hash128]struct{} // of identities
	images map[hash128]struct{} // of (key, image)
	files  map[hash128][32]byte // of (key, size, mtime): the file's digest
}

func newIndex() *Index {
	return &Index{Views: map[int]int{}, rows: map[hash128]struct{}{}, images: map[hash128]struct{}{}, files: map[hash128][32]byte{}}
}

// hash128 stands for a key in the index: 128 bits of XXH3. Of 10^9 rows, two would share one by chance with a probability of 10^-21.
type hash128 = xxh3.Uint128

// digestKey digests a key with fixed-size numbers behind it, through buf.
func digestKey(buf *[]byte, key string, image []byte, numbers ...int64) hash128 {
	b := append(append((*buf)[:0], key...), image...)
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	*buf = b
	return xxh3.Hash128(b)
}

// Index reads all sidecars. A shard without one, left by a job that was killed between the two, is indexed from its own bytes, and
// the sidecar written, where the store can be written to.
func (s *Store) Index() (*Index, error) {
	names, err := s.Shards()
	if err != nil {
		return nil, err
	}
	x := newIndex()
	for _, name := range names {
		side, err := s.readSidecar(name)
		if errors.Is(err, fs.ErrNotExist) {
			if side, err = s.rebuild(name); err == nil {
				s.keepRebuilt(name, side)
			}
		}
		if err != nil {
			return nil, err
		}
		x.add(name, side)
	}
	return x, nil
}

// keepRebuilt saves the next reader the work. It never replaces a sidecar: that of the shard's own writer, which may come at this very
// moment, knows more. A store that cannot be written to goes without.
func (s *Store) keepRebuilt(shard string, side *sidecar) {
	if raw, err := side.encode(s.manifest); err == nil {
		_ = atomicfile.WriteExclusive(s.sidecarPath(shard), raw)
	}
}

func (x *Index) add(name string, side *sidecar) {
	info := ShardInfo{Name: name, Bytes: side.size, Batches: len(side.batches), Library: side.library}
	rows := side.rows
	for _, b := range side.batches {
		ref := BatchRef{Shard: name, BatchInfo: b, size: side.size}
		for i := range b.Rows {
			if !x.addRow(&rows[i]) {
				ref.drop = append(ref.drop, int32(i))
			}
		}
		rows = rows[b.Rows:]
		ref.Rows -= len(ref.drop)
		info.Rows += ref.Rows
		info.Repeats += len(ref.drop)
		if ref.Rows > 0 {
			x.Batches = append(x.Batches, ref)
		}
	}
	x.Shards = append(x.Shards, info)
	x.Rows += info.Rows
	x.Repeats += info.Repeats
}

// addRow reports whether no row before has the identity.
func (x *Index) addRow(r *sideRow) bool {
	var buf []byte
	id := digestKey(&buf, r.Key, r.Image[:], int64(r.View))
	if r.size > 0 {
		x.files[digestKey(&buf, r.Key, nil, r.size, r.mtime)] = r.Image
	}
	if _, known := x.rows[id]; known {
		return false
	}
	x.rows[id] = struct{}{}
	x.images[digestKey(&buf, r.Key, r.Image[:])] = struct{}{}
	x.Views[int(r.View)]++
	return true
}

// Images is the number of distinct (key, image) pairs.
func (x *Index) Images() int { return len(x.images) }

// Known is the digest of the file seen before under that key with that size and time.
func (x *Index) Known(key string, size, mtime int64) ([32]byte, bool) {
	var buf []byte
	d, ok := x.files[digestKey(&buf, key, nil, size, mtime)]
	return d, ok
}

// Has reports whether the store holds a row.
func (x *Index) Has(id Identity) bool {
	var buf []byte
	_, ok := x.rows[digestKey(&buf, id.Key, id.Image[:], int64(id.View))]
	return ok
}

// Shards lists the published shards by name, sorted.
func (s *Store) Shards() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, shardsDir))
	if err != nil {
		return nil, fmt.Errorf("list store: %w", err)
	}
	var names []string
	for _, e := range entries {
		if n, ok := strings.CutSuffix(e.Name(), shardSuffix); ok && !atomicfile.IsTemp(e.Name()) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names, nil
}
