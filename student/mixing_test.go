package student

import (
	"testing"

	"mvptargets/shards"
)

// The mixing that docs/store.md states: how far apart the rows of a record batch come, and how many of a row's batch mates meet it in a
// training batch.
func TestMixing(t *testing.T) {
	const batches, batchRows = 6250, 16 // 100,000 rows
	rows := make([]int, batches)
	for i := range rows {
		rows[i] = batchRows
	}
	order := epochOrder(rows, shards.Window, 1, 0)
	first, last := make([]int, batches), make([]int, batches)
	for i, r := range order {
		if first[r.batch] == 0 {
			first[r.batch] = i + 1
		}
		last[r.batch] = i + 1
	}
	span := 0.0
	for b := range batches {
		span += float64(last[b]-first[b]) / batches
	}
	if gap := span / (batchRows - 1); gap < 60 || gap > 68 {
		t.Errorf("the rows of a batch come %.1f rows apart, a window of %d should make that of it", gap, shards.Window)
	}
	for size, want := range map[int][2]float64{64: {0.8, 1}, 256: {3.1, 3.8}, 2048: {11.8, 13}} {
		mates := 0.0
		seen := map[int]int{}
		for i, r := range order {
			if i%size == 0 {
				clear(seen)
			}
			mates += 2 * float64(seen[r.batch]) / float64(len(order))
			seen[r.batch]++
		}
		t.Logf("training batches of %d: a row meets %.2f of its %d mates; of rows in random order %.3f", size, mates, batchRows-1,
			float64(size-1)*(batchRows-1)/float64(len(order)-1))
		if mates < want[0] || mates > want[1] {
			t.Errorf("training batches of %d: %.2f mates", size, mates)
		}
	}
}
