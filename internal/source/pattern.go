package source

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxExpansion bounds the number of files that a pattern may name.
const maxExpansion = 1 << 20

// isPattern says whether a path has braces or wildcards.
func isPattern(path string) bool { return strings.ContainsAny(path, "{*?[") }

// expandPattern lists the files that a pattern with braces, as in bash, and wildcards, as in filepath.Match, names: braces in
// their order, what a wildcard matches sorted. Files that braces name must exist, and a wildcard must match something.
func expandPattern(pattern string) ([]string, error) {
	words, err := expandBraces(pattern)
	if err != nil {
		return nil, fmt.Errorf("images %s: %w", pattern, err)
	}
	var files []string
	seen := map[string]bool{}
	for _, word := range words {
		found := []string{word}
		if strings.ContainsAny(word, "*?[") {
			if err := listable(word); err != nil {
				return nil, fmt.Errorf("images %s: %w", pattern, err)
			}
			if found, err = filepath.Glob(word); err != nil {
				return nil, fmt.Errorf("images %s: %w", pattern, err)
			} else if len(found) == 0 {
				return nil, fmt.Errorf("images %s: no file matches %s", pattern, word)
			}
		} else if _, err := os.Stat(word); err != nil {
			return nil, fmt.Errorf("images %s: %w", pattern, err)
		}
		for _, f := range found {
			if !seen[f] {
				seen[f] = true
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// listable says which of the folders that a wildcard pattern looks into cannot be listed: filepath.Glob leaves those out.
func listable(pattern string) error {
	dir := filepath.Dir(pattern)
	folders := []string{dir}
	if strings.ContainsAny(dir, "*?[") {
		if err := listable(dir); err != nil {
			return err
		}
		var err error
		if folders, err = filepath.Glob(dir); err != nil {
			return err
		}
	}
	for _, f := range folders {
		if info, err := os.Stat(f); err != nil {
			return err
		} else if !info.IsDir() {
			continue
		}
		if _, err := os.ReadDir(f); err != nil {
			return err
		}
	}
	return nil
}

// patternRoot is the folder that a pattern's files are named relative to: all before the path element with the first brace or
// wildcard, "" or with a slash at its end.
func patternRoot(pattern string) string {
	if at := strings.IndexAny(pattern, "{*?["); at >= 0 {
		pattern = pattern[:at]
	}
	return pattern[:strings.LastIndexByte(pattern, '/')+1]
}

// expandBraces replaces {a,b} and {000..127} or {0..126..2}, nested as may be, by their words. Braces with neither comma nor range
// in them stand for themselves.
func expandBraces(s string) ([]string, error) {
	open := strings.IndexByte(s, '{')
	if open < 0 {
		if strings.Contains(s, "}") {
			return nil, fmt.Errorf("a brace is closed that was not opened")
		}
		return []string{s}, nil
	}
	inner, after, ok := matchBrace(s[open+1:])
	if !ok {
		return nil, fmt.Errorf("a brace is opened that is not closed")
	}
	middle, err := expandGroup(inner)
	if err != nil {
		return nil, err
	}
	tails, err := expandBraces(after)
	if err != nil {
		return nil, err
	}
	if len(middle)*len(tails) > maxExpansion {
		return nil, errTooMany
	}
	words := make([]string, 0, len(middle)*len(tails))
	for _, m := range middle {
		for _, t := range tails {
			words = append(words, s[:open]+m+t)
		}
	}
	return words, nil
}

var errTooMany = fmt.Errorf("braces name more than %d files", maxExpansion)

// matchBrace splits behind the brace that closes the one before s.
func matchBrace(s string) (inner, after string, ok bool) {
	depth := 1
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return "", "", false
}

// expandGroup gives the words of what stands between two braces.
func expandGroup(inner string) ([]string, error) {
	if words, err := expandRange(inner); words != nil || err != nil {
		return words, err
	}
	parts := splitCommas(inner)
	var words []string
	for _, p := range parts {
		w, err := expandBraces(p)
		if err != nil {
			return nil, err
		}
		words = append(words, w...)
	}
	if len(parts) == 1 {
		for i := range words {
			words[i] = "{" + words[i] + "}"
		}
	}
	return words, nil
}

func splitCommas(s string) []string {
	var parts []string
	depth, from := 0, 0
	for i := range len(s) {
		switch {
		case s[i] == '{':
			depth++
		case s[i] == '}':
			depth--
		case s[i] == ',' && depth == 0:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// expandRange gives the numbers of from..to or from..to..step, padded to the same width if one begins with a zero; nil if s is
// no range.
func expandRange(s string) ([]string, error) {
	parts := strings.Split(s, "..")
	if len(parts) != 2 && len(parts) != 3 {
		return nil, nil
	}
	var n [3]int64
	for i, p := range parts {
		v, err := strconv.ParseInt(p, 10, 32)
		if err != nil || strings.HasPrefix(p, "+") {
			return nil, nil
		}
		n[i] = v
	}
	from, to, step := n[0], n[1], max(n[2], -n[2], 1)
	if max(from-to, to-from)/step >= maxExpansion {
		return nil, errTooMany
	}
	width := 0
	if slices.ContainsFunc(parts[:2], func(p string) bool { return len(p) > 1 && strings.HasPrefix(strings.TrimPrefix(p, "-"), "0") }) {
		width = max(len(parts[0]), len(parts[1]))
	}
	if from > to {
		step = -step
	}
	var words []string
	for v := from; (step > 0) == (v <= to) || v == to; v += step {
		words = append(words, fmt.Sprintf("%0*d", width, v))
		if v == to {
			break
		}
	}
	return words, nil
}
