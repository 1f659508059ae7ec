package shards

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"

	"mvptargets/internal/arrowfile"
	"mvptargets/internal/atomicfile"
)

// WriterOptions say how rows are cut into files; none of them changes a stored number.
type WriterOptions struct {
	Library    string // provider and library versions that compute the rows, for the record
	BatchRows  int    // rows per record batch; 0 means 16
	ShardBytes int64  // a shard is published once it has grown to this; 0 means 256 MiB
}

// Writer appends rows to a store. It belongs to one goroutine; any number of writers may work on one store.
type Writer struct {
	store   *Store
	options WriterOptions
	schema  *arrow.Schema
	views   map[uint16]*columns // rows that wait for a full batch
	message arrowfile.Message   // of the last batch; its memory is used again
	shard   *shardFile          // nil between shards
	rejects bytes.Buffer        // lines of rejects/, published with the shard
}

// shardFile is the shard in flight.
type shardFile struct {
	file   *atomicfile.File
	digest hash.Hash // of the whole file
	arrow  *arrowfile.Writer
	side   sidecar
}

func (f *shardFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.digest.Write(p[:n])
	return n, err
}

// Writer starts a writer.
func (s *Store) Writer(o WriterOptions) (*Writer, error) {
	if o.BatchRows == 0 {
		o.BatchRows = 16
	}
	if o.ShardBytes == 0 {
		o.ShardBytes = 256 << 20
	}
	if most := s.manifest.batchRows(); o.BatchRows < 0 || o.BatchRows > most {
		return nil, fmt.Errorf("%d rows per batch: a batch of this store can have 1 to %d", o.BatchRows, most)
	}
	return &Writer{store: s, options: o, schema: s.manifest.schema(o.Library), views: map[uint16]*columns{}}, nil
}

// Append adds a row; r and its slices may be reused at once. Rows should come in keyed-hash order: neighbours share a batch.
func (w *Writer) Append(r *Row) error {
	if err := w.store.manifest.checkRow(r); err != nil {
		return err
	}
	c := w.views[r.Identity.View]
	if c == nil {
		c = &columns{}
		w.views[r.Identity.View] = c
	}
	c.add(r)
	if c.len() < w.options.BatchRows {
		return nil
	}
	if err := w.flush(c); err != nil {
		return err
	}
	if w.shard.arrow.Size() >= w.options.ShardBytes {
		return w.publish()
	}
	return nil
}

// Encode is Manifest.Encode for the writer's store.
func (w *Writer) Encode(r *Row, patches, cls []float32) Encoded {
	return w.store.manifest.Encode(r, patches, cls)
}

// checkRow refuses a row that no reader would take.
func (m Manifest) checkRow(r *Row) error {
	if err := m.checkFeatures(r); err != nil {
		return err
	}
	if !utf8.ValidString(r.Key) || len(r.Key) > maxKeyBytes {
		return fmt.Errorf("key %.100q: it must be UTF-8 of at most %d bytes", r.Key, maxKeyBytes)
	}
	if len(r.View.Jitter) > maxJitter {
		return fmt.Errorf("row %s has %d numbers of jitter, at most %d are possible", r.Key, len(r.View.Jitter), maxJitter)
	}
	return nil
}

// flush writes c's rows as one record batch.
func (w *Writer) flush(c *columns) error {
	if c.len() == 0 {
		return nil
	}
	if w.shard == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	f := w.shard
	w.message.Encode(c.record(&w.store.manifest))
	block, err := f.arrow.Append(&w.message)
	if err != nil {
		return fmt.Errorf("write shard in %s: %w", w.store.dir, err)
	}
	f.side.batches = append(f.side.batches, BatchInfo{Offset: block.Offset, Length: w.message.Size(), Rows: c.len(), View: c.view,
		Digest: xxh(w.message.Head, w.message.Body)})
	f.side.rows = append(f.side.rows, c.rows...)
	c.reset()
	return nil
}

func (w *Writer) open() error {
	file, err := atomicfile.Create(filepath.Join(w.store.dir, shardsDir, "shard"))
	if err != nil {
		return fmt.Errorf("start shard: %w", err)
	}
	f := &shardFile{file: file, digest: sha256.New(), side: sidecar{library: w.options.Library}}
	if f.arrow, err = arrowfile.NewWriter(f, w.schema); err != nil {
		file.Abort()
		return fmt.Errorf("start shard: %w", err)
	}
	w.shard = f
	return nil
}

// publish makes the shard visible, then its rejects, its sidecar last.
func (w *Writer) publish() error {
	f := w.shard
	if f == nil {
		return w.publishRejects()
	}
	if err := f.arrow.Close(); err != nil {
		return fmt.Errorf("finish shard in %s: %w", w.store.dir, err)
	}
	f.side.size = f.arrow.Size()
	name := hex.EncodeToString(f.digest.Sum(nil))
	if err := f.file.CommitAs(w.store.shardPath(name)); err != nil {
		return err
	}
	w.shard = nil
	if err := w.publishRejects(); err != nil {
		return err
	}
	return w.store.writeSidecar(name, &f.side)
}

// Close writes what waits and publishes the last shard. After an error nothing of that shard is visible.
func (w *Writer) Close() error {
	for _, v := range slices.Sorted(maps.Keys(w.views)) {
		if err := w.flush(w.views[v]); err != nil {
			w.Abort()
			return err
		}
	}
	if err := w.publish(); err != nil {
		w.Abort()
		return err
	}
	return nil
}

// Abort drops the shard in flight. What was published stays.
func (w *Writer) Abort() {
	if w.shard != nil {
		w.shard.file.Abort()
		w.shard = nil
	}
}
