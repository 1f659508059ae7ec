package shards

import (
	"bytes"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"mvptargets/internal/arrowfile"
)

// encoded is a batch of rows as the bytes of its message.
func encoded(rows ...*Row) []byte {
	var c columns
	for _, r := range rows {
		c.add(r)
	}
	var m arrowfile.Message
	store := testManifest()
	m.Encode(c.record(&store))
	return append(bytes.Clone(m.Head), m.Body...)
}

// testLayout is that of testManifest's shards.
func testLayout() (Manifest, arrowfile.Layout) {
	m := testManifest()
	return m, arrowfile.LayoutOf(m.schema(""))
}

// allocated is what f allocates on the heap, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A claim can make us allocate 2^15 times what the file holds of a buffer, and all buffers of a batch are looked at: for files of a few
// kilobytes, this is far from the gigabytes that a claim could name.
const hostileBytes = 256 << 20

// Messages whose digest is right but whose content is not: bits flipped, sizes changed, cut.
func TestHostileBatches(t *testing.T) {
	m, layout := testLayout()
	good := encoded(testRow(0, 1), testRow(1, 1), testRow(2, 1))
	r := rand.New(rand.NewPCG(1, 2))
	var b Batch
	if err := b.decode(good, &m, &layout); err != nil || b.Rows != 3 {
		t.Fatalf("%d rows, %v", b.Rows, err)
	}
	try := func(bad []byte) {
		if n := allocated(func() { _ = b.decode(bad, &m, &layout) }); n > hostileBytes {
			t.Fatalf("%d bytes were allocated for a message of %d", n, len(bad))
		}
	}
	for at := range min(len(good), 1200) { // the metadata stands in front: every bit of it
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[at] ^= 1 << bit
			try(bad)
		}
	}
	for range 2000 {
		bad := bytes.Clone(good)
		for range 1 + r.IntN(3) {
			bad[r.IntN(len(bad))] = byte(r.Uint32())
		}
		try(bad[:len(bad)-r.IntN(2)*r.IntN(len(bad))])
	}
}

func TestHostileSidecars(t *testing.T) {
	s := newStore(t)
	writeRows(t, s, 0, 30, 1)
	names, _ := s.Shards()
	good, err := os.ReadFile(s.sidecarPath(names[0]))
	if err != nil {
		t.Fatal(err)
	}
	m, r := s.Manifest(), rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		bad := bytes.Clone(good)
		for range 1 + r.IntN(3) {
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		}
		if n := allocated(func() { _, _ = m.decodeSidecar(bad) }); n > hostileBytes {
			t.Fatalf("%d bytes were allocated", n)
		}
	}
}

func FuzzBatch(f *testing.F) {
	m, layout := testLayout()
	f.Add(encoded(testRow(0, 1), testRow(1, 1)))
	f.Add(encoded(testRow(5, 0)))
	f.Fuzz(func(t *testing.T, message []byte) {
		var b Batch
		if err := b.decode(message, &m, &layout); err == nil && b.Rows > 0 {
			_ = b.View[b.Rows-1]
			b.drop([]int32{0})
		}
	})
}

func FuzzSidecar(f *testing.F) {
	m := testManifest()
	m.Schema, m.Producer.Schema = Schema, Schema
	m.ProducerID = m.Producer.ID()
	side := &sidecar{size: 5000, library: "test", batches: []BatchInfo{{Offset: 800, Length: 900, Rows: 2, View: 1}},
		rows: []sideRow{{testRow(0, 1).Identity, 9, 9, 1, 2}, {testRow(1, 1).Identity, 9, 9, 1, 2}}}
	raw, err := side.encode(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	var message arrowfile.Message
	message.Encode(side.record())
	f.Add(append(bytes.Clone(message.Head), message.Body...))
	layout := arrowfile.LayoutOf(m.sideSchema(side, ""))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = m.decodeSidecar(raw)
		again := sidecar{size: 5000}
		_ = again.decode(raw, &layout) // what a right digest would let through
	})
}
