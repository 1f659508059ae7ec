package progress

import (
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is a terminal that shows at most one bar below all other output.
type screen struct {
	mu   sync.Mutex
	w    *os.File
	line string // the bar on the screen, "" where there is none
}

var (
	screensMu sync.Mutex
	screens   = map[*os.File]*screen{}
)

func screenOf(w *os.File) *screen {
	screensMu.Lock()
	defer screensMu.Unlock()
	s := screens[w]
	if s == nil {
		s = &screen{w: w}
		screens[w] = s
	}
	return s
}

const clearLine = "\r\x1b[K"

// draw replaces the bar. A terminal that went away must not stop the job, so write errors are dropped.
func (s *screen) draw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if width, _, err := term.GetSize(int(s.w.Fd())); err == nil && width > 1 {
		line = cut(line, width-1)
	}
	s.line = line
	io.WriteString(s.w, clearLine+line)
}

// end leaves line as ordinary output.
func (s *screen) end(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = ""
	io.WriteString(s.w, clearLine+line+"\n")
}

// Write puts p above the bar.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.w.Write(p)
	}
	io.WriteString(s.w, clearLine)
	n, err := s.w.Write(p)
	io.WriteString(s.w, s.line)
	return n, err
}

// Writer gives the writer that other output to w must go through while a bar may be on it.
func Writer(w *os.File) io.Writer {
	if !term.IsTerminal(int(w.Fd())) {
		return w
	}
	return screenOf(w)
}

// cut shortens s to at most n runes.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}
