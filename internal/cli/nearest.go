package cli

// Nearest gives the candidate closest to word by edit distance, "" where none comes near: at most a third of the word's
// letters (and never fewer than 2) may differ.
func Nearest(word string, candidates []string) string {
	best, limit := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := editDistance(word, c); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and substitutions of bytes that turn a into b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
