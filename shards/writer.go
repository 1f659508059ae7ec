package shards

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"

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
	views   map[uint16]*pending // rows that wait for a full batch
	shard   *shardFile          // nil between shards
	rejects bytes.Buffer        // lines of rejects/, published with the shard
}

// shardFile is the shard in flight. Its counter and digest see every byte that Arrow writes.
type shardFile struct {
	file    *atomicfile.File
	arrow   *ipc.FileWriter
	digest  hash.Hash // of the whole file
	batch   hash.Hash // of the batch being written
	at      int64
	header  int64 // end of the schema message: where the first batch starts
	batches []BatchInfo
	rows    []indexRow
}

func (f *shardFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.digest.Write(p[:n])
	f.batch.Write(p[:n])
	f.at += int64(n)
	return n, err
}

// Seek only tells the place: Arrow's file writer asks for it and never moves.
func (f *shardFile) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != 1 {
		return 0, fmt.Errorf("seek in a shard being written")
	}
	return f.at, nil
}

// Writer starts a writer.
func (s *Store) Writer(o WriterOptions) (*Writer, error) {
	if o.BatchRows == 0 {
		o.BatchRows = 16
	}
	if o.ShardBytes == 0 {
		o.ShardBytes = 256 << 20
	}
	return &Writer{store: s, options: o, schema: s.manifest.schema(o.Library), views: map[uint16]*pending{}}, nil
}

// Append adds a row; r and its slices may be reused at once. Rows should come in keyed-hash order: neighbours share a batch.
func (w *Writer) Append(r *Row) error {
	m := w.store.manifest
	if len(r.Patches) != m.Patches()*m.Dim || m.CLS != (r.CLS != nil) || m.CLS && len(r.CLS) != m.Dim {
		return fmt.Errorf("row %s has %d patch numbers and %d of the class token, the store's rows have %d and %d",
			r.Key, len(r.Patches), len(r.CLS), m.Patches()*m.Dim, m.Dim)
	}
	p := w.views[r.Identity.View]
	if p == nil {
		p = &pending{}
		w.views[r.Identity.View] = p
	}
	p.add(r)
	if len(p.rows) < w.options.BatchRows {
		return nil
	}
	if err := w.flush(p); err != nil {
		return err
	}
	if w.shard.at >= w.options.ShardBytes {
		return w.publish()
	}
	return nil
}

// flush writes p's rows as one record batch.
func (w *Writer) flush(p *pending) error {
	if len(p.rows) == 0 {
		return nil
	}
	if w.shard == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	f := w.shard
	rec := p.record(w.schema)
	defer rec.Release()
	from := f.at
	f.batch.Reset()
	if err := f.arrow.Write(rec); err != nil {
		return fmt.Errorf("write shard in %s: %w", w.store.dir, err)
	}
	if len(f.batches) == 0 { // Arrow writes the schema with the first batch: find where that ends
		n, err := w.headerLength()
		if err != nil {
			return err
		}
		f.header, from = n, n
		// The digest of the first batch must not cover the header: the reader takes the batch alone.
		if err := f.rehash(from); err != nil {
			return err
		}
	}
	info := BatchInfo{Offset: from, Length: f.at - from, Rows: len(p.rows), View: p.rows[0].Identity.View}
	f.batch.Sum(info.Digest[:0])
	for _, r := range p.rows {
		f.rows = append(f.rows, indexRow{r.Identity, r.FileSize, r.MTime, int32(len(f.batches))})
	}
	f.batches = append(f.batches, info)
	p.reset()
	return nil
}

// headerLength is the size of the magic and the schema message of this writer's shards.
func (w *Writer) headerLength() (int64, error) {
	head := make([]byte, 1<<16)
	n, err := w.shard.file.ReadAt(head, 0)
	if n == 0 {
		return 0, fmt.Errorf("read back shard: %w", err)
	}
	return messageEnd(head[:n], int64(len(ipc.Magic))+2)
}

// rehash digests the bytes from offset on again.
func (f *shardFile) rehash(from int64) error {
	buf := make([]byte, f.at-from)
	if _, err := f.file.ReadAt(buf, from); err != nil {
		return fmt.Errorf("read back shard: %w", err)
	}
	f.batch.Reset()
	f.batch.Write(buf)
	return nil
}

func (w *Writer) open() error {
	file, err := atomicfile.Create(filepath.Join(w.store.dir, shardsDir, "shard"))
	if err != nil {
		return fmt.Errorf("start shard: %w", err)
	}
	f := &shardFile{file: file, digest: sha256.New(), batch: sha256.New()}
	f.arrow, err = ipc.NewFileWriter(f, ipc.WithSchema(w.schema), ipc.WithZstd())
	if err != nil {
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
	name := hex.EncodeToString(f.digest.Sum(nil))
	path := filepath.Join(w.store.dir, shardsDir, name+shardSuffix)
	if err := f.file.CommitAs(path); err != nil {
		return err
	}
	w.shard = nil
	if err := w.publishRejects(); err != nil {
		return err
	}
	return writeSidecar(filepath.Join(w.store.dir, indexDir, name+shardSuffix), sidecar{Size: f.at, Header: f.header, Batches: f.batches}, f.rows)
}

// Reject records an image that cannot be used.
func (w *Writer) Reject(key, reason string) error {
	line, err := json.Marshal(Reject{key, reason})
	if err != nil {
		return err
	}
	w.rejects.Write(append(line, '\n'))
	return nil
}

// Reject is a line of rejects/.
type Reject struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

func (w *Writer) publishRejects() error {
	if w.rejects.Len() == 0 {
		return nil
	}
	sum := sha256.Sum256(w.rejects.Bytes())
	path := filepath.Join(w.store.dir, rejectsDir, hex.EncodeToString(sum[:])+".jsonl")
	err := atomicfile.Write(path, w.rejects.Bytes(), 0o644)
	w.rejects.Reset()
	return err
}

// Close writes what waits and publishes the last shard. After an error nothing of that shard is visible.
func (w *Writer) Close() error {
	for _, v := range sortedKeys(w.views) {
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
