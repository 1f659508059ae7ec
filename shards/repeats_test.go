package shards

import (
	"slices"
	"sync"
	"testing"
)

// readAll reads every batch of an index and gives the rows' texts in order.
func readAll(t *testing.T, s *Store, x *Index) (rows []string) {
	t.Helper()
	r := s.Reader()
	defer r.Close()
	var b Batch
	for _, ref := range x.Batches {
		if err := r.ReadBatch(ref, &b); err != nil {
			t.Fatal(err)
		}
		if b.Rows != ref.Rows || len(b.Key) != b.Rows || len(b.Label) != b.Rows || len(b.Patches) != b.Rows*30 || len(b.CLS) != b.Rows*5 {
			t.Fatalf("batch of %d rows, the index says %d", b.Rows, ref.Rows)
		}
		for i := range b.Rows {
			rows = append(rows, ofBatch(&b, i).text())
		}
	}
	return rows
}

// Rows written twice, in one shard and in several, count once for everyone, and it is always the same one that counts.
func TestRepeatsAreDropped(t *testing.T) {
	s := newStore(t)
	shard := func(number uint16, rows ...int) {
		w, err := s.Writer(WriterOptions{BatchRows: 4})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range rows {
			r := testRow(i, 1)
			r.Patches[0] = number // tells which shard a row is from
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	shard(1, 0, 1, 2, 3, 4, 5, 6, 7)
	shard(2, 4, 5, 6, 7, 8, 9, 10, 11) // its first batch, or the other's second, counts for nothing
	shard(3, 3, 12, 12, 5, 13, 13, 13)
	x, err := s.Index()
	if err != nil || x.Rows != 14 || x.Repeats != 9 || x.Images() != 14 || x.Views[1] != 14 {
		t.Fatalf("%d rows, %d repeats, %v", x.Rows, x.Repeats, err)
	}
	rows := readAll(t, s, x)
	if len(rows) != 14 {
		t.Errorf("%d rows were read", len(rows))
	}
	seen := map[string]bool{}
	for _, r := range rows {
		key := r[:len("class/0000.jpg")]
		if seen[key] {
			t.Errorf("%s was read twice", key)
		}
		seen[key] = true
	}
	again, err := s.Index()
	if err != nil || !slices.Equal(readAll(t, s, again), rows) {
		t.Errorf("the rows differ from index to index: %v", err)
	}
	if report := verified(t, s); report.Rows != 14 || report.Repeats != 9 || len(report.Problems) > 0 {
		t.Errorf("%+v", report)
	}
	total := 0
	for _, info := range x.Shards {
		total += info.Rows + info.Repeats
	}
	if total != 23 {
		t.Errorf("the shards hold %d rows: %+v", total, x.Shards)
	}
	// The row of the shard whose name sorts first counts.
	var b Batch
	owner := map[string]string{}
	for _, name := range slices.Sorted(slices.Values([]string{x.Shards[0].Name, x.Shards[1].Name, x.Shards[2].Name})) {
		side, err := s.readSidecar(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range side.rows {
			if owner[r.Key] == "" {
				owner[r.Key] = name
			}
		}
	}
	for _, ref := range x.Batches {
		if err := s.Reader().ReadBatch(ref, &b); err != nil {
			t.Fatal(err)
		}
		for _, key := range b.Key {
			if owner[key] != ref.Shard {
				t.Errorf("%s was read from %.8s, %.8s comes first", key, ref.Shard, owner[key])
			}
		}
	}
}

func TestReaderIsSharedAndClosesFiles(t *testing.T) {
	s := newStore(t)
	for i := range maxIdle + 20 { // more shards than stay open
		w, err := s.Writer(WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for j := range 3 {
			if err := w.Append(testRow(3*i+j, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	x, err := s.Index()
	if err != nil {
		t.Fatal(err)
	}
	want := readAll(t, s, x)
	r := s.Reader()
	got := make([]string, len(want))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			var b Batch
			for n := worker; n < len(x.Batches); n += 2 { // every batch is read by two
				if err := r.ReadBatch(x.Batches[n], &b); err != nil {
					t.Error(err)
					return
				}
				if worker < 2 {
					for i := range b.Rows {
						got[3*n+i] = ofBatch(&b, i).text()
					}
				}
			}
		})
	}
	wg.Wait()
	if !slices.Equal(got, want) {
		t.Error("concurrent reads gave other rows")
	}
	if n := len(r.open); n > maxIdle+4 {
		t.Errorf("%d files are open", n)
	}
	if err := r.Close(); err != nil || len(r.open) != 0 {
		t.Errorf("%d files stay open: %v", len(r.open), err)
	}
}
