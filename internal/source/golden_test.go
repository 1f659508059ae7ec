package source

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goldens is what testdata/make_golden.py wrote of torchvision, webdataset and braceexpand.
type goldens struct {
	Tree struct {
		Files, Classes []string
		Samples        [][2]any // path, class
	}
	Tars   map[string][][4]any // key, suffix, content, label
	Braces map[string][]string
}

func readGoldens(t *testing.T) (g goldens) {
	t.Helper()
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLabelsEqualTorchvision(t *testing.T) {
	g := readGoldens(t).Tree
	files := map[string]string{}
	for _, name := range g.Files {
		files[name] = "x"
	}
	s, got := scan(t, tree(t, files))
	expect(t, "classes", s.Classes(), g.Classes)
	var want []string
	for _, sample := range g.Samples {
		want = append(want, fmt.Sprintf("%s %v", sample[0], sample[1]))
	}
	slices.Sort(got)
	slices.Sort(want)
	expect(t, "images", got, want)
}

func TestSamplesEqualWebdataset(t *testing.T) {
	for name, samples := range readGoldens(t).Tars {
		s, err := Open("testdata/" + name + ".tar")
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		if err := s.Scan(context.Background(), func(i Item) error {
			key, err := Unescape(i.Key)
			if err != nil {
				return err
			}
			data, err := s.Read(nil, i.Key)
			if err != nil || int64(len(data)) != i.Size || i.MTime == 0 || i.Run != 1 {
				t.Errorf("%+v: read %q, %v", i, data, err)
			}
			parts := prefixAndSuffix.FindStringSubmatch(strings.TrimPrefix(key, name+".tar/"))
			if suffix := strings.ToLower(parts[2]); slices.Contains(suffixes, suffix) { // else an image that webdataset has no name for
				got = append(got, fmt.Sprintln(parts[1], suffix, string(data), i.Label))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, w := range samples {
			want = append(want, fmt.Sprintln(w[:]...))
		}
		expect(t, name, got, want)
	}
}

func TestBracesEqualBraceexpand(t *testing.T) {
	for pattern, want := range readGoldens(t).Braces {
		got, err := expandBraces(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		expect(t, pattern, got, want)
	}
	for _, pattern := range []string{"{a", "a}", "{a}}", "{{a}", "{0..99999999}", "{0..9999}{0..9999}"} {
		if words, err := expandBraces(pattern); err == nil {
			t.Errorf("%s gave %d words", pattern, len(words))
		}
	}
}

func TestPatternsOfTars(t *testing.T) {
	dir := t.TempDir()
	for to, from := range map[string]string{"x/a-0.tar": "plain", "x/a-1.tar": "grouped", "y/a-0.tar": "plain"} {
		data, err := os.ReadFile("testdata/" + from + ".tar")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string][]string{
		"x/a-0.tar":        {"a-0.tar/0001.jpg", "a-0.tar/0002.jpg", "a-0.tar/0003.jpg", "a-0.tar/0004.JPG"},
		"{y,x}/a-0.tar":    {"y/a-0.tar/0001.jpg", "y/a-0.tar/0002.jpg", "y/a-0.tar/0003.jpg", "y/a-0.tar/0004.JPG", "x/a-0.tar/0001.jpg", "x/a-0.tar/0002.jpg", "x/a-0.tar/0003.jpg", "x/a-0.tar/0004.JPG"},
		"./?/a-{00..00}*r": nil,
		"x/a-*.tar":        {"a-0.tar/0001.jpg", "a-0.tar/0002.jpg", "a-0.tar/0003.jpg", "a-0.tar/0004.JPG", "a-1.tar/1.jpg", "a-1.tar/2.jpg", "a-1.tar/3.webp"},
	} {
		s, err := Open(filepath.Join(dir, pattern))
		if want == nil {
			if err == nil || !strings.Contains(err.Error(), "no file matches") {
				t.Errorf("%s gives %v", pattern, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := s.Scan(context.Background(), func(i Item) error {
			if len(got) < len(want) {
				got = append(got, i.Key)
			}
			if _, err := s.Read(nil, i.Key); err != nil {
				t.Error(err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		expect(t, pattern, got, want)
	}
}
