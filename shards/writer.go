package shards

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"time"
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
	Workers    int    // batches compressed at the same time; 0 means one per core, at most 16

	Compressed func(time.Duration) // if not nil, told how long each batch took, from any goroutine
}

// Writer appends rows to a store. It belongs to one goroutine; any number of writers may work on one store. Batches are compressed beside that
// goroutine and written in their order, so that a file's bytes do not depend on the number of workers.
type Writer struct {
	store   *Store
	options WriterOptions
	schema  *arrow.Schema
	views   map[uint16]*pending // rows that wait for a full batch
	queue   []*pending          // full batches, in the order in which they are written
	idle    []*pending
	shard   *shardFile   // nil between shards
	rejects bytes.Buffer // lines of rejects/, published with the shard
}

// pending is a batch on its way into the file. Its memory is used again.
type pending struct {
	columns
	message arrowfile.Message
	digest  [16]byte
	done    chan struct{} // closed once message and digest are there
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
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 16)
	}
	if most := s.manifest.batchRows(); o.BatchRows < 0 || o.BatchRows > most {
		return nil, fmt.Errorf("%d rows per batch: a batch of this store can have 1 to %d", o.BatchRows, most)
	}
	return &Writer{store: s, options: o, schema: s.manifest.schema(o.Library), views: map[uint16]*pending{}}, nil
}

// Append adds a row; r and its slices may be reused at once. Rows should come in keyed-hash order: neighbours share a batch.
func (w *Writer) Append(r *Row) error {
	if err := w.store.manifest.checkRow(r); err != nil {
		return err
	}
	p := w.views[r.Identity.View]
	if p == nil {
		p = w.spare()
		w.views[r.Identity.View] = p
	}
	p.add(r)
	if p.len() < w.options.BatchRows {
		return nil
	}
	delete(w.views, r.Identity.View)
	w.compress(p)
	if len(w.queue) < w.options.Workers {
		return nil
	}
	return w.advance()
}

func (w *Writer) spare() *pending {
	n := len(w.idle)
	if n == 0 {
		return &pending{}
	}
	p := w.idle[n-1]
	w.idle = w.idle[:n-1]
	return p
}

// compress starts work on a batch and puts it into the queue.
func (w *Writer) compress(p *pending) {
	p.done = make(chan struct{})
	w.queue = append(w.queue, p)
	go func() {
		defer close(p.done)
		started := time.Now()
		p.message.Encode(p.record(&w.store.manifest))
		p.digest = xxh(p.message.Head, p.message.Body)
		if w.options.Compressed != nil {
			w.options.Compressed(time.Since(started))
		}
	}()
}

// advance writes the oldest batch of the queue, and publishes the shard if that made it large enough.
func (w *Writer) advance() error {
	if err := w.write(); err != nil {
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
	if !utf8.ValidString(r.Key) || len(r.Key) > MaxKeyBytes {
		return fmt.Errorf("key %.100q: it must be UTF-8 of at most %d bytes", r.Key, MaxKeyBytes)
	}
	if len(r.View.Jitter) > maxJitter {
		return fmt.Errorf("row %s has %d numbers of jitter, at most %d are possible", r.Key, len(r.View.Jitter), maxJitter)
	}
	return nil
}

// write takes the oldest batch of the queue, once it is compressed, and appends it to the shard.
func (w *Writer) write() error {
	p := w.queue[0]
	w.queue = slices.Delete(w.queue, 0, 1)
	<-p.done
	if w.shard == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	f := w.shard
	block, err := f.arrow.Append(&p.message)
	if err != nil {
		return fmt.Errorf("write shard in %s: %w", w.store.dir, err)
	}
	f.side.batches = append(f.side.batches, BatchInfo{Offset: block.Offset, Length: p.message.Size(), Rows: p.len(), View: p.view, Digest: p.digest})
	f.side.rows = append(f.side.rows, p.rows...)
	p.reset()
	w.idle = append(w.idle, p)
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
	err := w.finish()
	if err != nil {
		w.Abort()
	}
	return err
}

func (w *Writer) finish() error {
	for len(w.queue) > 0 {
		if err := w.advance(); err != nil {
			return err
		}
	}
	for _, v := range slices.Sorted(maps.Keys(w.views)) {
		w.compress(w.views[v])
	}
	clear(w.views)
	for len(w.queue) > 0 {
		if err := w.write(); err != nil {
			return err
		}
	}
	return w.publish()
}

// Abort drops the shard in flight. What was published stays.
func (w *Writer) Abort() {
	w.queue = nil
	if w.shard != nil {
		w.shard.file.Abort()
		w.shard = nil
	}
}
