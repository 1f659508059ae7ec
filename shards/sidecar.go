package shards

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/zeebo/xxh3"

	"mvptargets/internal/arrowfile"
	"mvptargets/internal/atomicfile"
)

// BatchInfo is where a record batch lies in its shard: a whole Arrow message, from its first byte to the end of its body.
type BatchInfo struct {
	Offset, Length int64
	Rows           int
	View           uint16
	Digest         [16]byte // XXH3, 128 bits, of the message's bytes, in canonical (big-endian) order
}

// sideRow is a row of a sidecar, apart from its batch's place.
type sideRow struct {
	Identity
	width, height int32 // of the image in pixels, after EXIF orientation; 0 where not known
	size, mtime   int64 // of the image file, as in Row; 0 where not known
}

// sidecar is what an index file says of its shard. Rows stand in the order of the shard, batch by batch.
type sidecar struct {
	size    int64 // of the shard in bytes
	library string
	batches []BatchInfo
	rows    []sideRow
}

// Columns of a sidecar in their order.
const (
	sideKey = iota
	sideImage
	sideView
	sideWidth
	sideHeight
	sideSize
	sideMTime
	sideOffset
	sideBytes
	sideDigest
)

// Bounds of a sidecar that is read.
const (
	maxSidecarBytes = 1 << 30
	maxSidecarRows  = 1 << 23
)

// sideSchema is that of a sidecar; rows is the digest of its record batch.
func (m Manifest) sideSchema(s *sidecar, rows string) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		sideKey:    {Name: "key", Type: arrow.BinaryTypes.String},
		sideImage:  {Name: "image_sha256", Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}},
		sideView:   {Name: "view", Type: arrow.PrimitiveTypes.Uint16},
		sideWidth:  {Name: "width", Type: arrow.PrimitiveTypes.Int32},
		sideHeight: {Name: "height", Type: arrow.PrimitiveTypes.Int32},
		sideSize:   {Name: "file_size", Type: arrow.PrimitiveTypes.Int64},
		sideMTime:  {Name: "mtime_ns", Type: arrow.PrimitiveTypes.Int64},
		sideOffset: {Name: "batch_offset", Type: arrow.PrimitiveTypes.Int64},
		sideBytes:  {Name: "batch_bytes", Type: arrow.PrimitiveTypes.Int64},
		sideDigest: {Name: "batch_xxh3", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}},
	}, metadata(metaProducer, m.ProducerID, metaSchema, strconv.Itoa(m.Schema), metaLibrary, s.library,
		metaShard, strconv.FormatInt(s.size, 10), metaRows, rows))
}

// xxh is the digest of a message in the parts that it is held in.
func xxh(parts ...[]byte) [16]byte {
	h := xxh3.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum128().Bytes()
}

// record lists the nodes and buffers of a sidecar's record batch.
func (s *sidecar) record() *arrowfile.Record {
	var key texts
	var image, digest []byte
	var view []uint16
	var width, height []int32
	var size, mtime, offset, length []int64
	key.ends = append(key.ends, 0)
	at := 0
	for _, b := range s.batches {
		for range b.Rows {
			r := &s.rows[at]
			key.append(r.Key)
			image, view = append(image, r.Image[:]...), append(view, r.View)
			width, height = append(width, r.width), append(height, r.height)
			size, mtime = append(size, r.size), append(mtime, r.mtime)
			offset, length, digest = append(offset, b.Offset), append(length, b.Length), append(digest, b.Digest[:]...)
			at++
		}
	}
	r := &arrowfile.Record{Rows: at}
	for _, column := range [][][]byte{{bytesOf(key.ends), key.bytes}, {image}, {bytesOf(view)}, {bytesOf(width)}, {bytesOf(height)},
		{bytesOf(size)}, {bytesOf(mtime)}, {bytesOf(offset)}, {bytesOf(length)}, {digest}} {
		r.Nodes = append(r.Nodes, arrowfile.Node{Length: int64(at)})
		r.Buffers = append(append(r.Buffers, nil), column...)
	}
	return r
}

// encode is the sidecar as a file.
func (s *sidecar) encode(m Manifest) ([]byte, error) {
	var message arrowfile.Message
	message.Encode(s.record())
	var file bytes.Buffer
	w, err := arrowfile.NewWriter(&file, m.sideSchema(s, fmt.Sprintf("%x", xxh(message.Head, message.Body))))
	if err != nil {
		return nil, err
	}
	if _, err := w.Append(&message); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}

func (s *Store) sidecarPath(shard string) string {
	return filepath.Join(s.dir, indexDir, shard+shardSuffix)
}
func (s *Store) shardPath(shard string) string {
	return filepath.Join(s.dir, shardsDir, shard+shardSuffix)
}

// writeSidecar publishes the sidecar of a shard, in place of one that a reader may have made again meanwhile.
func (s *Store) writeSidecar(shard string, side *sidecar) error {
	raw, err := side.encode(s.manifest)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.sidecarPath(shard), err)
	}
	return atomicfile.Write(s.sidecarPath(shard), raw, 0o644)
}

// readSidecar reads the index file of a shard; whatever is wrong with it is an error.
func (s *Store) readSidecar(shard string) (*sidecar, error) {
	path := s.sidecarPath(shard)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read sidecar: %w", err)
	}
	if info.Size() > maxSidecarBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than a sidecar can have", path, info.Size())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read sidecar: %w", err)
	}
	side, err := s.manifest.decodeSidecar(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; remove it, and it will be made again from its shard", path, err)
	}
	return side, nil
}

// decodeSidecar reads the bytes of an index file.
func (m Manifest) decodeSidecar(raw []byte) (*sidecar, error) {
	f, err := arrowfile.Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, err
	}
	side := &sidecar{}
	if err := m.check(f.Schema, m.sideSchema(side, "")); err != nil {
		return nil, err
	}
	meta := f.Schema.Metadata()
	size, _ := meta.GetValue(metaShard)
	if side.size, err = strconv.ParseInt(size, 10, 64); err != nil {
		return nil, fmt.Errorf("the size of its shard is %q", size)
	}
	side.library, _ = meta.GetValue(metaLibrary)
	digest, _ := meta.GetValue(metaRows)
	block, err := f.Next()
	if err != nil {
		return nil, err
	}
	message := raw[block.Offset : block.Offset+int64(block.Head)+block.Body]
	if got := fmt.Sprintf("%x", xxh(message)); got != digest {
		return nil, fmt.Errorf("its bytes have the digest %.12s, not %.12s", got, digest)
	}
	if _, err := f.Next(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one record batch")
	}
	if err := side.decode(message, &f.Layout); err != nil {
		return nil, err
	}
	return side, nil
}

// decode fills rows and batches from a sidecar's record batch.
func (side *sidecar) decode(message []byte, l *arrowfile.Layout) error {
	var batch arrowfile.Batch
	if err := batch.Parse(message, l); err != nil {
		return err
	}
	n := batch.Rows
	if n > maxSidecarRows {
		return fmt.Errorf("%d rows, more than a sidecar can have", n)
	}
	s := &source{batch: &batch, layout: l}
	for c := range l.Node {
		s.solid(c)
	}
	values := func(column int) int { return l.Buffer[column] + 1 }
	key := s.strings(nil, &scratch{}, sideKey, n)
	image := fixed(s, [][32]byte(nil), values(sideImage), n)
	view := fixed(s, []uint16(nil), values(sideView), n)
	width := fixed(s, []int32(nil), values(sideWidth), n)
	height := fixed(s, []int32(nil), values(sideHeight), n)
	size := fixed(s, []int64(nil), values(sideSize), n)
	mtime := fixed(s, []int64(nil), values(sideMTime), n)
	offset := fixed(s, []int64(nil), values(sideOffset), n)
	length := fixed(s, []int64(nil), values(sideBytes), n)
	digest := fixed(s, [][16]byte(nil), values(sideDigest), n)
	if s.err != nil {
		return s.err
	}
	side.rows = make([]sideRow, n)
	end := int64(0)
	for i := range n {
		side.rows[i] = sideRow{Identity{key[i], image[i], view[i]}, width[i], height[i], size[i], mtime[i]}
		if last := len(side.batches) - 1; last >= 0 && side.batches[last].Offset == offset[i] {
			if b := &side.batches[last]; b.Length != length[i] || b.Digest != digest[i] {
				return fmt.Errorf("row %d names its batch in another way than row %d", i, i-1)
			}
			side.batches[last].Rows++
			continue
		}
		if offset[i] < end || length[i] <= 0 || length[i] > maxBatchBytes || offset[i] > side.size-length[i] {
			return fmt.Errorf("row %d lies in a batch of %d bytes at %d, which its shard of %d bytes cannot have", i, length[i], offset[i], side.size)
		}
		end = offset[i] + length[i]
		side.batches = append(side.batches, BatchInfo{Offset: offset[i], Length: length[i], Rows: 1, View: view[i], Digest: digest[i]})
	}
	return nil
}

// rebuild makes a sidecar from its shard's own bytes. Sizes and times of the images and their files are lost: those files will be
// read again by the next mvp-extract.
func (s *Store) rebuild(shard string) (*sidecar, error) {
	path := s.shardPath(shard)
	fail := func(err error) (*sidecar, error) {
		return nil, fmt.Errorf("index %s: %w; remove the file and run mvp-extract again", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read shard: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if digest, err := digestOf(f); err != nil {
		return fail(err)
	} else if digest != shard {
		return fail(errors.New("its bytes do not match its name"))
	}
	file, err := arrowfile.Open(f, info.Size())
	if err != nil {
		return fail(err)
	}
	if err := s.manifest.check(file.Schema, s.manifest.schema("")); err != nil {
		return fail(err)
	}
	side := &sidecar{size: info.Size()}
	meta := file.Schema.Metadata()
	side.library, _ = meta.GetValue(metaLibrary)
	var b Batch
	for {
		block, err := file.Next()
		if errors.Is(err, io.EOF) {
			return side, nil
		} else if err != nil {
			return fail(err)
		}
		if err := side.rebuildBatch(f, block, &b, &s.manifest, &file.Layout); err != nil {
			return fail(fmt.Errorf("batch at byte %d: %w", block.Offset, err))
		}
	}
}

func (side *sidecar) rebuildBatch(f io.ReaderAt, block arrowfile.Block, b *Batch, m *Manifest, l *arrowfile.Layout) error {
	info := BatchInfo{Offset: block.Offset, Length: int64(block.Head) + block.Body}
	if info.Length > maxBatchBytes {
		return fmt.Errorf("it has %d bytes", info.Length)
	}
	b.raw = grown(b.raw, int(info.Length))
	if _, err := f.ReadAt(b.raw, info.Offset); err != nil {
		return err
	}
	if err := b.decode(b.raw, m, l); err != nil {
		return err
	}
	if b.Rows == 0 {
		return nil
	}
	info.Rows, info.View, info.Digest = b.Rows, b.View[0].Index, xxh(b.raw)
	side.batches = append(side.batches, info)
	for i := range b.Rows {
		side.rows = append(side.rows, sideRow{Identity: Identity{b.Key[i], b.Image[i], b.View[i].Index}})
	}
	return nil
}
