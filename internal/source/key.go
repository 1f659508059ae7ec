package source

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Escape turns a path into a key: valid UTF-8 stays as it is, except that a backslash is doubled; every other byte becomes
// a backslash, an x and two hex digits. No two paths have the same key.
func Escape(path string) string {
	if utf8.ValidString(path) && !strings.Contains(path, `\`) {
		return path
	}
	var b strings.Builder
	for len(path) > 0 {
		r, n := utf8.DecodeRuneInString(path)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, path[0])
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteString(path[:n])
		}
		path = path[n:]
	}
	return b.String()
}

// Unescape is the inverse of Escape.
func Unescape(key string) (string, error) {
	if !strings.Contains(key, `\`) {
		return key, nil
	}
	b := make([]byte, 0, len(key))
	for i := 0; i < len(key); i++ {
		if key[i] != '\\' {
			b = append(b, key[i])
			continue
		}
		rest := key[i+1:]
		var hex byte
		switch {
		case strings.HasPrefix(rest, `\`):
			b = append(b, '\\')
			i++
		case len(rest) >= 3 && rest[0] == 'x' && unhex(rest[1:3], &hex):
			b = append(b, hex)
			i += 3
		default:
			return "", fmt.Errorf(`key %q has a backslash that is neither \\ nor \xNN`, key)
		}
	}
	return string(b), nil
}

func unhex(digits string, to *byte) bool {
	for i := range len(digits) {
		d := strings.IndexByte("0123456789abcdef", digits[i])
		if d < 0 {
			return false
		}
		*to = *to<<4 | byte(d)
	}
	return true
}
