package shards

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mvptargets/shards/view"
)

func testManifest() Manifest {
	return Manifest{Producer: Producer{Model: []FileDigest{{"teacher.onnx", "ab"}}, Features: "hidden", Precision: "f32", Size: 64,
		Resize: "bicubic", Decoder: view.FamilyTurbo, Policy: view.NewRRC(0.2, 1), Encoding: EncodingF16}, Grid: [2]int{3, 2}, Dim: 5, CLS: true}
}

// testRow is row i of view v: every number depends on both.
func testRow(i int, v uint16) *Row {
	r := &Row{Identity: Identity{fmt.Sprintf("class/%04d.jpg", i), sha256.Sum256([]byte{byte(i), byte(i >> 8)}), v},
		View: view.View{Index: v, X: int32(i), Y: 2, W: 30, H: 40, Flip: i%2 == 0}, Label: int32(i%3) - 1, FileSize: int64(100 + i), MTime: int64(i)}
	for k := range 30 {
		r.Patches = append(r.Patches, uint16(i*31+k+int(v)*7))
	}
	for k := range 5 {
		r.CLS = append(r.CLS, uint16(i+k))
	}
	return r
}

func writeRows(t *testing.T, s *Store, from, to, views int) {
	t.Helper()
	w, err := s.Writer(WriterOptions{Library: "test", ShardBytes: 20000})
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < to; i++ {
		for v := range views {
			if err := w.Append(testRow(i, uint16(v))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Reject("bad.jpg", "truncated"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Create(filepath.Join(t.TempDir(), "store"), testManifest())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verified(t *testing.T, s *Store) *VerifyReport {
	t.Helper()
	r, err := s.Verify(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRowsComeBackAsWritten(t *testing.T) {
	s := newStore(t)
	writeRows(t, s, 0, 200, 2)
	x, err := s.Index()
	if err != nil {
		t.Fatal(err)
	}
	if x.Rows != 400 || x.Images() != 200 {
		t.Fatalf("%d rows of %d images", x.Rows, x.Images())
	}
	if d, ok := x.Known("class/0007.jpg", 107, 7); !ok || d != testRow(7, 0).Image || !x.Has(testRow(7, 1).Identity) {
		t.Error("image 7 is not known")
	}
	r, seen := s.Reader(), 0
	var b Batch
	for _, ref := range x.Batches {
		if err := r.ReadBatch(ref, &b); err != nil {
			t.Fatal(err)
		}
		for j := range b.Rows {
			var i int
			fmt.Sscanf(b.Key[j], "class/%d.jpg", &i)
			want := testRow(i, ref.View)
			if b.Image[j] != want.Image || b.View[j].X != want.View.X || b.View[j].Flip != want.View.Flip || b.Label[j] != want.Label ||
				fmt.Sprint(b.Patches[j*30:(j+1)*30], b.CLS[j*5:(j+1)*5]) != fmt.Sprint(want.Patches, want.CLS) {
				t.Fatalf("row %s of view %d came back changed", b.Key[j], ref.View)
			}
			seen++
		}
	}
	if report := verified(t, s); seen != 400 || len(report.Problems) > 0 || report.Rows != 400 || report.Shards < 2 {
		t.Errorf("%d rows read, verify: %+v", seen, report)
	}
	if rejects, _ := filepath.Glob(filepath.Join(s.Dir(), rejectsDir, "*.jsonl")); len(rejects) != 1 {
		t.Errorf("reject files: %v", rejects)
	}
}

func TestAnotherProducerIsRefused(t *testing.T) {
	s := newStore(t)
	m := testManifest()
	m.Producer.Precision = "bf16"
	if _, err := Create(s.Dir(), m); err == nil || !strings.Contains(err.Error(), `precision: "f32" in the store, "bf16" asked`) {
		t.Errorf("got %v", err)
	}
	if _, err := Create(s.Dir(), testManifest()); err != nil {
		t.Errorf("the same producer was refused: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "mvp-extract") {
		t.Errorf("an empty folder gave %v", err)
	}
}

// A shard whose job was killed before the sidecar is indexed from its own bytes.
func TestMissingSidecarIsMadeAgain(t *testing.T) {
	s := newStore(t)
	writeRows(t, s, 0, 100, 1)
	names, _ := s.Shards()
	side, err := s.readSidecar(names[0])
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(s.sidecarPath(names[0]))
	again, err := s.rebuild(names[0])
	if err != nil || again.size != side.size || again.library != "test" || !slices.Equal(again.batches, side.batches) || len(again.rows) != len(side.rows) {
		t.Fatalf("rebuilt %v, was %v (%v)", again, side, err)
	}
	for i, r := range side.rows {
		if want := (sideRow{Identity: r.Identity}); again.rows[i] != want {
			t.Errorf("row %d is %v, want %v", i, again.rows[i], want)
		}
	}
	if x, err := s.Index(); err != nil || x.Rows != 100 {
		t.Errorf("index: %v", err)
	}
	if saved, err := s.readSidecar(names[0]); err != nil || !slices.Equal(saved.rows, again.rows) {
		t.Errorf("saved: %v", err)
	}
	if err := s.writeSidecar(names[0], side); err != nil { // the writer's own, late
		t.Fatal(err)
	}
	s.keepRebuilt(names[0], again)
	if kept, err := s.readSidecar(names[0]); err != nil || !slices.Equal(kept.rows, side.rows) {
		t.Errorf("a rebuilt sidecar replaced that of the writer: %v", err)
	}
}

// Any flipped bit and any truncation of a shard is an error that names the file, never a panic.
func TestDamageIsFound(t *testing.T) {
	s := newStore(t)
	writeRows(t, s, 0, 40, 1)
	names, _ := s.Shards()
	path := filepath.Join(s.Dir(), shardsDir, names[0]+shardSuffix)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for trial := range 60 {
		bad := append([]byte(nil), good...)
		if trial%3 == 0 {
			bad = bad[:r.IntN(len(bad))]
		} else {
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		}
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if report := verified(t, s); len(report.Problems) == 0 || !strings.Contains(report.Problems[0], names[0]) {
			t.Fatalf("trial %d: %+v", trial, report)
		}
		x, err := s.Index()
		if err != nil {
			t.Fatal(err)
		}
		var b Batch
		for _, ref := range x.Batches { // damage behind the batches is none of the reader's business
			if err := s.Reader().ReadBatch(ref, &b); err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
		}
	}
}

func TestWritersShareAStore(t *testing.T) {
	s := newStore(t)
	done := make(chan struct{})
	for part := range 3 {
		go func() {
			defer func() { done <- struct{}{} }()
			writeRows(t, s, part*50, part*50+60, 1) // overlapping by ten
		}()
	}
	for range 3 {
		<-done
	}
	x, err := s.Index()
	if err != nil || x.Rows != 160 || x.Repeats != 20 {
		t.Errorf("%+v, %v", x, err)
	}
	if report := verified(t, s); len(report.Problems) > 0 {
		t.Error(report.Problems)
	}
}

// A recorded view that the policy does not draw is found, where the image's size is known.
func TestVerifyDrawsViewsAgain(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		s := newStore(t)
		w, err := s.Writer(WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := testRow(1, 2)
		r.Width, r.Height = 500, 375
		r.View = s.manifest.Producer.Policy.View(r.Image, 2, 500, 375)
		if wrong {
			r.View.X++
		}
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		report := verified(t, s)
		if wrong != (len(report.Problems) == 1) || wrong && !strings.Contains(report.Problems[0], "class/0001.jpg") {
			t.Errorf("wrong: %v, problems %q", wrong, report.Problems)
		}
	}
}

func TestRowsThatNoReaderWouldTake(t *testing.T) {
	s := newStore(t)
	w, err := s.Writer(WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Row){
		"patches":   func(r *Row) { r.Patches = r.Patches[1:] },
		"no cls":    func(r *Row) { r.CLS = nil },
		"short cls": func(r *Row) { r.CLS = r.CLS[1:] },
		"key":       func(r *Row) { r.Key = "caf\xe9.jpg" },
		"long key":  func(r *Row) { r.Key = strings.Repeat("a", MaxKeyBytes+1) },
		"jitter":    func(r *Row) { r.View.Jitter = make([]float32, maxJitter+1) },
	} {
		r := testRow(1, 0)
		change(r)
		if err := w.Append(r); err == nil {
			t.Errorf("%s: the row was taken", name)
		}
	}
	if _, err := s.Writer(WriterOptions{BatchRows: 1 << 20}); err == nil {
		t.Error("a batch of 2^20 rows was promised")
	}
}

// Shards are named by their bytes: those do not depend on how many batches were compressed at a time.
func TestBytesDoNotDependOnWorkers(t *testing.T) {
	var want []string
	for _, workers := range []int{1, 2, 7} {
		s := newStore(t)
		w, err := s.Writer(WriterOptions{ShardBytes: 20000, Workers: workers, Compressed: func(time.Duration) {}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 600 {
			if err := w.Append(testRow(i/3, uint16(i%3))); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(s.Dir(), shardsDir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		if want == nil {
			want = names
		}
		if len(names) < 5 || !slices.Equal(names, want) {
			t.Errorf("%d workers: files %v, want %v", workers, names, want)
		}
	}
}
