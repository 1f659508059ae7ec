package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/extract/teacher"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("MVP_EXTRACT_TEST") != "" {
		main()
	}
	os.Exit(m.Run())
}

// program runs mvp-extract and gives its exit status and output.
func program(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "MVP_EXTRACT_TEST=1"), env...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	var exit *exec.ExitError
	if e := cmd.Run(); errors.As(e, &exit) {
		status = exit.ExitCode()
	} else if e != nil {
		t.Fatal(e)
	}
	return status, out.String(), err.String()
}

const (
	tower  = "../../extract/teacher/testdata/tower.onnx"
	photos = "../../extract/testdata/photos.txt"
)

func needsLibrary(t *testing.T) {
	if lines := teacher.Libraries(); !strings.HasPrefix(lines[0], "onnxruntime /") {
		t.Skip(lines[0])
	}
}

// lastLine is the error: log lines may stand before it.
func lastLine(stderr string) string {
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestErrors(t *testing.T) {
	needsLibrary(t)
	store := func(t *testing.T) string { return filepath.Join(t.TempDir(), "store") }
	made := store(t)
	if status, _, stderr := program(t, nil, "--model", tower, "--images", photos, "--out", made, "--provider", "cpu"); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "a.jpg"), []byte("no picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args   []string
		env    []string
		status int
		want   []string
	}{
		"no arguments":     {nil, nil, 2, []string{"--model is missing", "--help"}},
		"unknown flag":     {[]string{"--modle", "x"}, nil, 2, []string{"unknown flag --modle; did you mean --model?"}},
		"stray argument":   {[]string{"--model", tower, "--images", photos, "--out", made, "more"}, nil, 2, []string{`unexpected argument "more"`}},
		"bad part":         {[]string{"--model", tower, "--images", photos, "--out", made, "--part", "3/3"}, nil, 2, []string{`part "3/3" is not i/n`}},
		"useless flag":     {[]string{"--model", tower, "--images", photos, "--out", made, "--seed", "1"}, nil, 2, []string{"--seed is for --view rrc"}},
		"bad jitter":       {[]string{"--model", tower, "--images", photos, "--out", made, "--view", "rrc", "--jitter", "0.4,0.4"}, nil, 2, []string{"2 numbers, want 4 or 1"}},
		"equal views":      {[]string{"--model", tower, "--images", photos, "--out", made, "--views", "2"}, nil, 2, []string{"use --view rrc"}},
		"missing model":    {[]string{"--model", "none.onnx", "--images", photos, "--out", store(t)}, nil, 1, []string{"none.onnx does not exist", "--model takes"}},
		"no vision tower":  {[]string{"--model", "../../extract/teacher/testdata/text.onnx", "--images", photos, "--out", store(t)}, nil, 1, []string{"text.onnx is no vision tower", "input_ids"}},
		"missing source":   {[]string{"--model", tower, "--images", "/nowhere", "--out", store(t)}, nil, 1, []string{"images /nowhere do not exist", "a source is"}},
		"empty source":     {[]string{"--model", tower, "--images", t.TempDir(), "--out", store(t)}, nil, 1, []string{"holds no images"}},
		"unreadable image": {[]string{"--model", tower, "--images", bad, "--out", store(t), "--provider", "cpu"}, nil, 1, []string{"1 of 1", "--max-reject-fraction", "rejects"}},
		"other producer":   {[]string{"--model", tower, "--images", photos, "--out", made, "--view", "rrc"}, nil, 1, []string{made, "policy", "another"}},
		"missing library":  {[]string{"--model", tower, "--images", photos, "--out", store(t), "--provider", "cpu"}, []string{"MVP_ONNXRUNTIME=/none.so"}, 1, []string{"/none.so", "make deps"}},
		"inspect, no file": {[]string{"inspect", "--model", "none.onnx"}, nil, 1, []string{"none.onnx does not exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := program(t, c.env, c.args...)
			line := lastLine(stderr)
			if status != c.status || !strings.HasPrefix(line, "mvp-extract: ") {
				t.Errorf("status %d, want %d; stderr %q", status, c.status, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in %q", want, line)
				}
			}
			if c.status == 2 && (strings.Count(stderr, "\n") != 1 || stdout != "") {
				t.Errorf("more than one line: %q %q", stdout, stderr)
			}
		})
	}
}

func TestRunAndReuse(t *testing.T) {
	needsLibrary(t)
	store := filepath.Join(t.TempDir(), "store")
	args := []string{"--model", tower, "--images", photos, "--out", store, "--log-format", "json"}
	status, stdout, stderr := program(t, nil, args...)
	if status != 0 || !strings.HasPrefix(stdout, "10 images: 10 views computed, 0 reused, 0 images rejected; ") || !strings.HasSuffix(stdout, "; store "+store+"\n") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	if !strings.Contains(stderr, `"msg":"provider chosen","provider":"openvino"`) {
		t.Errorf("the log does not name the provider: %s", stderr)
	}
	if status, stdout, _ := program(t, nil, args...); status != 0 || !strings.Contains(stdout, " 0 views computed, 10 reused") {
		t.Errorf("the second run: status %d, %q", status, stdout)
	}
}

func TestInspectHelpAndVersion(t *testing.T) {
	needsLibrary(t)
	for want, args := range map[string][]string{
		"            projected: the projection image_embeds applied to all tokens, class token + 4x4 patches of 8 numbers": {"inspect", "--model", tower},
		"usage: mvp-extract --model clip.onnx": {"--help"},
		"  onnxruntime /":                      {"--version"},
	} {
		if status, stdout, stderr := program(t, nil, args...); status != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%q: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
}
