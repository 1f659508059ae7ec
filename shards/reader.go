package shards

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"mvptargets/internal/arrowfile"
)

// Window is how many record batches a reader that trains should hold open to draw rows from. Rows that share a batch then come about
// Window rows apart, and are spread over Window times the rows of a batch.
const Window = 64

// maxIdle is how many shards a reader keeps open that nobody reads from.
const maxIdle = 64

// Reader reads record batches by reference. It is safe for concurrent use: reads of different batches share nothing but the open files.
type Reader struct {
	store *Store

	mu   sync.Mutex
	open map[string]*openShard
	tick uint64 // counts uses, to find the file that was not used for longest
}

// openShard is an open file whose schema has been compared with the store's.
type openShard struct {
	load   sync.Once
	err    error
	file   *os.File
	size   int64
	layout arrowfile.Layout
	users  int    // under Reader.mu
	used   uint64 // tick of the last use, under Reader.mu
}

// Reader returns a reader.
func (s *Store) Reader() *Reader { return &Reader{store: s, open: map[string]*openShard{}} }

// Close closes the files. The reader must not be in use, and can be used again.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for name, f := range r.open {
		if f.file != nil {
			errs = append(errs, f.file.Close())
		}
		delete(r.open, name)
	}
	return errors.Join(errs...)
}

// acquire opens a shard or finds it open. It must be released.
func (r *Reader) acquire(name string) (*openShard, error) {
	r.mu.Lock()
	f := r.open[name]
	if f == nil {
		f = &openShard{}
		r.open[name] = f
	}
	f.users++
	r.tick++
	f.used = r.tick
	r.mu.Unlock()
	if f.load.Do(func() { f.err = r.store.openShard(name, f) }); f.err != nil {
		r.release(name, f)
		return nil, f.err
	}
	return f, nil
}

// release gives a shard back. One that failed to open is forgotten; of idle ones the longest unused is closed when there are many.
func (r *Reader) release(name string, f *openShard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.users--
	if f.err != nil {
		if r.open[name] == f {
			delete(r.open, name)
		}
		return
	}
	if len(r.open) <= maxIdle {
		return
	}
	oldest := ""
	for n, o := range r.open {
		if o.users == 0 && o.file != nil && (oldest == "" || o.used < r.open[oldest].used) {
			oldest = n
		}
	}
	if oldest != "" {
		r.open[oldest].file.Close()
		delete(r.open, oldest)
	}
}

// openShard opens a shard and compares its schema with the store's.
func (s *Store) openShard(name string, f *openShard) error {
	path := s.shardPath(name)
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read shard: %w", err)
	}
	fail := func(err error) error {
		file.Close()
		return fmt.Errorf("read %s: %w; run mvp-shards verify", path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return fail(err)
	}
	a, err := arrowfile.Open(file, info.Size())
	if err != nil {
		return fail(err)
	}
	if err := s.manifest.check(a.Schema, s.manifest.schema("")); err != nil {
		return fail(err)
	}
	f.file, f.size, f.layout = file, info.Size(), a.Layout
	return nil
}

// ReadBatch reads one batch into b, whose memory is used again. Its bytes are compared with the index's digest before they are
// decoded; rows that repeat an identity are left out.
func (r *Reader) ReadBatch(ref BatchRef, b *Batch) error {
	f, err := r.acquire(ref.Shard)
	if err != nil {
		return err
	}
	defer r.release(ref.Shard, f)
	if err := r.read(f, ref, b); err != nil {
		b.Rows = 0
		return fmt.Errorf("read %s at byte %d: %w; run mvp-shards verify", r.store.shardPath(ref.Shard), ref.Offset, err)
	}
	return nil
}

func (r *Reader) read(f *openShard, ref BatchRef, b *Batch) error {
	if f.size != ref.size {
		return fmt.Errorf("the file has %d bytes, its sidecar says %d", f.size, ref.size)
	}
	if ref.Length < 0 || ref.Length > maxBatchBytes || ref.Offset < 0 || ref.Offset > f.size-ref.Length {
		return fmt.Errorf("a batch of %d bytes", ref.Length)
	}
	b.raw = grown(b.raw, int(ref.Length))
	if _, err := f.file.ReadAt(b.raw, ref.Offset); errors.Is(err, io.EOF) {
		return errors.New("the file is truncated")
	} else if err != nil {
		return err
	}
	if xxh(b.raw) != ref.Digest {
		return errors.New("the bytes are damaged (digest mismatch)")
	}
	if err := b.decode(b.raw, &r.store.manifest, &f.layout); err != nil {
		return err
	}
	if b.Rows != ref.Rows+len(ref.drop) {
		return fmt.Errorf("%d rows, its sidecar says %d", b.Rows, ref.Rows+len(ref.drop))
	}
	b.drop(ref.drop)
	return nil
}
