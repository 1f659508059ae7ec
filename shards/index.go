package shards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"mvptargets/internal/atomicfile"
)

// BatchInfo is where a record batch lies in its shard, and the SHA-256 of its bytes.
type BatchInfo struct {
	Offset int64    `json:"offset"`
	Length int64    `json:"length"`
	Rows   int      `json:"rows"`
	View   uint16   `json:"view"`
	Digest [32]byte `json:"digest"`
}

// sidecar is the part of an index file that stands in its metadata, as JSON.
type sidecar struct {
	Size    int64       `json:"size"`   // of the shard
	Header  int64       `json:"header"` // bytes before the first batch
	Batches []BatchInfo `json:"batches"`
}

type indexRow struct {
	Identity
	size, mtime int64
	batch       int32
}

const metaSidecar = "mvp.sidecar"

func sidecarSchema(s sidecar) *arrow.Schema {
	raw, _ := json.Marshal(s)
	meta := arrow.MetadataFrom(map[string]string{metaSidecar: string(raw)})
	return arrow.NewSchema([]arrow.Field{
		{Name: colKey, Type: arrow.BinaryTypes.String},
		{Name: colImage, Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}},
		{Name: colView, Type: arrow.PrimitiveTypes.Uint16},
		{Name: "file_size", Type: arrow.PrimitiveTypes.Int64},
		{Name: "mtime_ns", Type: arrow.PrimitiveTypes.Int64},
		{Name: "batch", Type: arrow.PrimitiveTypes.Int32},
	}, &meta)
}

func writeSidecar(path string, s sidecar, rows []indexRow) error {
	schema := sidecarSchema(s)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.StringBuilder).Append(r.Key)
		b.Field(1).(*array.FixedSizeBinaryBuilder).Append(r.Image[:])
		b.Field(2).(*array.Uint16Builder).Append(r.View)
		b.Field(3).(*array.Int64Builder).Append(r.size)
		b.Field(4).(*array.Int64Builder).Append(r.mtime)
		b.Field(5).(*array.Int32Builder).Append(r.batch)
	}
	rec := b.NewRecord()
	defer rec.Release()
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(schema), ipc.WithZstd())
	if err == nil {
		err = w.Write(rec)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Commit()
}

// readSidecar reads an index file; whatever is wrong with it is an error, never a panic.
func readSidecar(path string) (s sidecar, rows []indexRow, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return s, nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s is damaged: %v", path, p)
		}
	}()
	r, err := ipc.NewFileReader(bytes.NewReader(raw))
	if err != nil {
		return s, nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	defer r.Close()
	meta := r.Schema().Metadata()
	text, ok := meta.GetValue(metaSidecar)
	if !ok {
		return s, nil, fmt.Errorf("%s is damaged: no %s", path, metaSidecar)
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if !r.Schema().Equal(arrow.NewSchema(sidecarSchema(s).Fields(), nil)) {
		return s, nil, fmt.Errorf("%s is damaged: its columns are %v", path, r.Schema().Fields())
	}
	for i := range r.NumRecords() {
		rec, err := r.Record(i)
		if err != nil {
			return s, nil, fmt.Errorf("%s is damaged: %w", path, err)
		}
		for j := range int(rec.NumRows()) {
			row := indexRow{Identity{strings.Clone(rec.Column(0).(*array.String).Value(j)), [32]byte(rec.Column(1).(*array.FixedSizeBinary).Value(j)),
				rec.Column(2).(*array.Uint16).Value(j)}, rec.Column(3).(*array.Int64).Value(j), rec.Column(4).(*array.Int64).Value(j), rec.Column(5).(*array.Int32).Value(j)}
			if row.batch < 0 || int(row.batch) >= len(s.Batches) {
				return s, nil, fmt.Errorf("%s is damaged: row %d names batch %d of %d", path, j, row.batch, len(s.Batches))
			}
			rows = append(rows, row)
		}
	}
	return s, rows, nil
}

// BatchRef names a record batch of the store.
type BatchRef struct {
	Shard string // its digest in hex
	BatchInfo
	header int64
	size   int64
}

// Index is all sidecars in memory: which rows there are and where.
type Index struct {
	Batches []BatchRef // by shard name, then place
	Rows    int        // distinct identities
	Repeats int        // rows whose identity an earlier shard already has
	views   map[imageKey]map[uint16]bool
	files   map[fileKey][32]byte
}

type imageKey struct {
	key   string
	image [32]byte
}

type fileKey struct {
	key         string
	size, mtime int64
}

// Index reads all sidecars. A shard without one, left by a job that was killed between the two, is indexed from its own bytes.
func (s *Store) Index() (*Index, error) {
	names, err := s.Shards()
	if err != nil {
		return nil, err
	}
	x := &Index{views: map[imageKey]map[uint16]bool{}, files: map[fileKey][32]byte{}}
	for _, name := range names {
		path := filepath.Join(s.dir, indexDir, name+shardSuffix)
		side, rows, err := readSidecar(path)
		if os.IsNotExist(err) {
			side, rows, err = s.rebuild(name)
			if err == nil {
				err = writeSidecar(path, side, rows)
			}
		}
		if err != nil {
			return nil, err
		}
		for _, b := range side.Batches {
			x.Batches = append(x.Batches, BatchRef{Shard: name, BatchInfo: b, header: side.Header, size: side.Size})
		}
		for _, r := range rows {
			x.add(r)
		}
	}
	return x, nil
}

func (x *Index) add(r indexRow) {
	k := imageKey{r.Key, r.Image}
	if x.views[k] == nil {
		x.views[k] = map[uint16]bool{}
	}
	if x.views[k][r.View] {
		x.Repeats++
		return
	}
	x.views[k][r.View] = true
	x.Rows++
	if r.size > 0 {
		x.files[fileKey{r.Key, r.size, r.mtime}] = r.Image
	}
}

// Images is the number of distinct (key, image) pairs.
func (x *Index) Images() int { return len(x.views) }

// Known is the digest of the file seen before under that key with that size and time.
func (x *Index) Known(key string, size, mtime int64) ([32]byte, bool) {
	d, ok := x.files[fileKey{key, size, mtime}]
	return d, ok
}

// Has reports whether the store holds a row.
func (x *Index) Has(id Identity) bool { return x.views[imageKey{id.Key, id.Image}][id.View] }

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
	sort.Strings(names)
	return names, nil
}

// rebuild makes a sidecar from a shard's own messages. File sizes and times are lost: those images will be read again.
func (s *Store) rebuild(name string) (sidecar, []indexRow, error) {
	path := filepath.Join(s.dir, shardsDir, name+shardSuffix)
	raw, err := os.ReadFile(path)
	if err != nil {
		return sidecar{}, nil, err
	}
	fail := func(err error) (sidecar, []indexRow, error) {
		return sidecar{}, nil, fmt.Errorf("index %s: %w; remove the file and run mvp-extract again", path, err)
	}
	if hexDigest(raw) != name {
		return fail(fmt.Errorf("its bytes do not match its name"))
	}
	side := sidecar{Size: int64(len(raw))}
	if side.Header, err = messageEnd(raw, int64(len(ipc.Magic))+2); err != nil {
		return fail(err)
	}
	var rows []indexRow
	var b Batch
	for at := side.Header; ; {
		end, err := messageEnd(raw, at)
		if err != nil { // the end-of-stream mark has no metadata
			break
		}
		if end > side.Size {
			return fail(io.ErrUnexpectedEOF)
		}
		if err := s.decode(&b, raw[:side.Header], raw[at:end]); err != nil {
			return fail(err)
		}
		info := BatchInfo{Offset: at, Length: end - at, Rows: b.Rows, Digest: sum(raw[at:end])}
		for i := range b.Rows {
			info.View = b.View[i].Index
			rows = append(rows, indexRow{Identity{strings.Clone(b.Key[i]), b.Image[i], b.View[i].Index}, 0, 0, int32(len(side.Batches))})
		}
		side.Batches = append(side.Batches, info)
		at = end
	}
	return side, rows, nil
}
