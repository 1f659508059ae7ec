package student

import (
	"slices"
	"testing"
)

func TestEpochOrderHoldsEveryRowOnce(t *testing.T) {
	rows := []int{16, 16, 3, 0, 16, 7, 16, 16}
	a, b := epochOrder(rows, 3, 1, 0), epochOrder(rows, 3, 1, 0)
	if !slices.Equal(a, b) {
		t.Fatal("the same epoch came in another order")
	}
	if slices.Equal(a, epochOrder(rows, 3, 1, 1)) {
		t.Error("two epochs have one order")
	}
	seen := map[rowRef]bool{}
	open := map[int]int{}
	for _, r := range a {
		if seen[r] || r.row >= rows[r.batch] {
			t.Fatalf("row %v", r)
		}
		seen[r] = true
		if open[r.batch]++; open[r.batch] == rows[r.batch] {
			delete(open, r.batch)
		}
		if len(open) > 3 {
			t.Fatalf("%d batches are open at once", len(open))
		}
	}
	if len(seen) != 90 {
		t.Errorf("%d rows of 90", len(seen))
	}
}
