package shards

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
)

// maxBatchBytes bounds a record batch before anything is allocated for it: far above any that the writer makes.
const maxBatchBytes = 1 << 30

// Reader reads record batches by reference. It is safe for concurrent use.
type Reader struct{ store *Store }

// Reader returns a reader.
func (s *Store) Reader() *Reader { return &Reader{s} }

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

func hexDigest(b []byte) string {
	d := sum(b)
	return hex.EncodeToString(d[:])
}

// ReadBatch reads one batch into b, whose slices are reused. The bytes are checked against the index's digest before Arrow sees them.
func (r *Reader) ReadBatch(ref BatchRef, b *Batch) error {
	path := filepath.Join(r.store.dir, shardsDir, ref.Shard+shardSuffix)
	fail := func(err error) error {
		return fmt.Errorf("read %s at byte %d: %w; run mvp-shards verify", path, ref.Offset, err)
	}
	if ref.Length < 0 || ref.Length > maxBatchBytes || ref.header < 0 || ref.header > maxBatchBytes {
		return fail(fmt.Errorf("a batch of %d bytes", ref.Length))
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read shard: %w", err)
	}
	defer f.Close()
	raw := make([]byte, ref.header+ref.Length)
	if _, err := f.ReadAt(raw[:ref.header], 0); err != nil {
		return fail(unexpected(err))
	}
	if _, err := f.ReadAt(raw[ref.header:], ref.Offset); err != nil {
		return fail(unexpected(err))
	}
	if sum(raw[ref.header:]) != ref.Digest {
		return fail(errors.New("the bytes are damaged (digest mismatch)"))
	}
	if err := r.store.decode(b, raw[:ref.header], raw[ref.header:]); err != nil {
		return fail(err)
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the file is truncated")
	}
	return err
}

// decode reads one record batch message behind a shard's header (magic and schema message), as a stream. Arrow's reader
// trusts sizes inside the message and panics on wrong ones; that becomes an error here.
func (s *Store) decode(b *Batch, header, message []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged record batch: %v", p)
		}
	}()
	magic := len(ipc.Magic) + 2
	if len(header) < magic {
		return errors.New("damaged header")
	}
	r, err := ipc.NewReader(io.MultiReader(bytes.NewReader(header[magic:]), bytes.NewReader(message)))
	if err != nil {
		return fmt.Errorf("damaged header: %w", err)
	}
	defer r.Release()
	want := s.manifest.schema("")
	if !r.Schema().Equal(arrow.NewSchema(want.Fields(), nil)) {
		return fmt.Errorf("columns are %v, the store's are %v", r.Schema().Fields(), want.Fields())
	}
	meta := r.Schema().Metadata()
	if id, _ := meta.GetValue(metaProducer); id != s.manifest.ProducerID {
		return fmt.Errorf("made by producer %.12s, the store's is %.12s", id, s.manifest.ProducerID)
	}
	if !r.Next() {
		return fmt.Errorf("no record batch: %v", r.Err())
	}
	return b.fill(r.Record(), s.manifest)
}
