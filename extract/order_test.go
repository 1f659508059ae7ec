package extract

import (
	"fmt"
	"testing"
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
