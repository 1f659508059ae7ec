package source

import (
	"fmt"
	"slices"
	"strconv"
)

const maxLabel = 1 << 24

// numberLabels numbers labels given as text. If all are numbers they stand for themselves; else each stands for its place among
// the names, sorted, which are given too.
func numberLabels(labels map[string]bool) (number map[string]int32, classes []string, err error) {
	numbers := true
	for s := range labels {
		_, err := strconv.ParseUint(s, 10, 31)
		numbers = numbers && err == nil
	}
	number = map[string]int32{}
	for s := range labels {
		if !numbers {
			classes = append(classes, s)
			continue
		}
		n, _ := strconv.ParseUint(s, 10, 31)
		if n > maxLabel {
			return nil, nil, fmt.Errorf("label %s is larger than %d", s, maxLabel)
		}
		number[s] = int32(n)
	}
	slices.Sort(classes)
	for i, s := range classes {
		number[s] = int32(i)
	}
	return number, classes, nil
}
