package source

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// textList is a text file with one image per line: a path, absolute or relative to the list's folder, and after a tab, if
// wanted, a label: a class name, or a number if all of them are numbers.
type textList struct {
	path    string
	folder  string
	lines   []listLine
	classes []string
}

type listLine struct {
	key   string
	label int32
}

const maxListLine = 1 << 16

func openList(path string) (Source, error) {
	l := &textList{path: path, folder: filepath.Dir(path)}
	if err := l.read(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *textList) read() error {
	f, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	defer f.Close()
	var labels []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, maxListLine)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSuffix(scanner.Text(), "\r")
		if line == "" {
			continue
		}
		if strings.ContainsRune(line, 0) {
			return fmt.Errorf("images %s are no text list (line %d holds a zero byte); %s", l.path, n, remedy)
		}
		path, label, _ := strings.Cut(line, "\t")
		if !utf8.ValidString(label) {
			return fmt.Errorf("images %s: the label of line %d is not UTF-8", l.path, n)
		}
		l.lines = append(l.lines, listLine{Escape(filepath.Clean(path)), NoLabel})
		labels = append(labels, strings.TrimSpace(label))
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("images %s are no text list: %w; %s", l.path, err, remedy)
	}
	return l.setLabels(labels)
}

// setLabels gives the lines the numbers of their labels.
func (l *textList) setLabels(labels []string) error {
	distinct := map[string]bool{}
	for _, s := range labels {
		if s != "" {
			distinct[s] = true
		}
	}
	number, classes, err := numberLabels(distinct)
	if err != nil {
		return fmt.Errorf("images %s: %w", l.path, err)
	}
	l.classes = classes
	for i, s := range labels {
		if s != "" {
			l.lines[i].label = number[s]
		}
	}
	return nil
}

func (l *textList) Classes() []string { return l.classes }

func (l *textList) Scan(ctx context.Context, each func(Item) error) error {
	for _, line := range l.lines {
		if err := ctx.Err(); err != nil {
			return err
		}
		path, err := l.file(line.key)
		if err != nil {
			return err
		}
		if err := each(itemOf(line.key, path, line.label)); err != nil {
			return err
		}
	}
	return nil
}

// file gives the path of a key, which for a list may lie anywhere.
func (l *textList) file(key string) (string, error) {
	path, err := Unescape(key)
	if err == nil && !filepath.IsAbs(path) {
		path = filepath.Join(l.folder, path)
	}
	return path, err
}

func (l *textList) Read(buf []byte, key string) ([]byte, error) {
	path, err := l.file(key)
	if err != nil {
		return buf[:0], err
	}
	return readFile(buf, path)
}

func (l *textList) Check() error {
	if _, err := os.Stat(l.path); err != nil {
		return fmt.Errorf("images vanished: %w", err)
	}
	return nil
}
