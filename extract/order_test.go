package extract

import (
	"fmt"
	"testing"

	"mvptargets/internal/source"
)

func TestPartsDivideTheKeys(t *testing.T) {
	for _, n := range []int{1, 3, 7} {
		count := make([]int, n)
		for k := range 1000 {
			order, owners := orderOf(fmt.Sprint("image", k)), 0
			for i := range n {
				if (Part{i, n}).has(order) {
					count[i]++
					owners++
				}
			}
			if owners != 1 {
				t.Fatalf("a key has %d owners among %d parts", owners, n)
			}
		}
		for i, c := range count {
			if c < 1000/n*7/10 || c > 1000/n*13/10+1 {
				t.Errorf("part %d/%d has %d of 1000 keys", i, n, c)
			}
		}
	}
	if (Part{0, 2}).has(1<<63) || !(Part{1, 2}).has(1<<63) || !(Part{0, 1}).has(^uint64(0)) {
		t.Error("the pieces' borders are off")
	}
}

func TestParsePart(t *testing.T) {
	if p, err := ParsePart("2/5"); err != nil || p != (Part{2, 5}) || p.String() != "2/5" {
		t.Errorf("2/5 is %v, %v", p, err)
	}
	for _, s := range []string{"", "1", "5/5", "-1/5", "a/b", "1/0", "1/2/3"} {
		if _, err := ParsePart(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// Runs of a tar stay whole, and parts get about the same number of them.
func TestPartsDivideRuns(t *testing.T) {
	const runs, parts = 560, 8
	count := make([]int, parts)
	for run := 1; run <= runs; run++ {
		for p := range parts {
			n := 0
			for k := range 10 {
				if (Part{p, parts}).has(placeOf(source.Item{Key: fmt.Sprint(run, k), Run: run})) {
					n++
				}
			}
			if n != 0 && n != 10 {
				t.Fatalf("part %d has %d of 10 images of run %d", p, n, run)
			}
			count[p] += n / 10
		}
	}
	for p, n := range count {
		if n < runs/parts-1 || n > runs/parts+1 {
			t.Errorf("part %d has %d of %d runs", p, n, runs)
		}
	}
}
