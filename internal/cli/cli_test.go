package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for a program, for the tests of Main.
func TestMain(m *testing.M) {
	switch os.Getenv("CLI_TEST_PROGRAM") {
	case "":
		os.Exit(m.Run())
	case "wait":
		Main("prog", func(ctx context.Context, args []string) error {
			fmt.Println("ready")
			<-ctx.Done()
			return fmt.Errorf("extract: %w", ctx.Err())
		})
	case "hang":
		Main("prog", func(ctx context.Context, args []string) error {
			fmt.Println("ready")
			<-ctx.Done()
			fmt.Println("cancelled")
			select {}
		})
	}
}

func start(t *testing.T, program string) (*exec.Cmd, *bytes.Buffer, func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CLI_TEST_PROGRAM="+program)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line := make([]byte, 64)
	read := func() {
		if _, err := out.Read(line); err != nil {
			t.Fatal(err)
		}
	}
	read()
	return cmd, &stderr, read
}

func TestASignalCancels(t *testing.T) {
	cmd, stderr, _ := start(t, "wait")
	cmd.Process.Signal(syscall.SIGTERM)
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || stderr.String() != "prog: stopped by a signal\n" {
		t.Errorf("ended with %v and %q", err, stderr)
	}
}

func TestASecondSignalKills(t *testing.T) {
	cmd, _, read := start(t, "hang")
	cmd.Process.Signal(syscall.SIGINT)
	read() // cancelled
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for range 100 { // the default action comes back a moment after the cancellation
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Error("still running after the second signal")
}

func TestReport(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		ctx    context.Context
		err    error
		status int
		text   string
	}{
		{context.Background(), nil, 0, ""},
		{context.Background(), ErrShown, 0, ""},
		{context.Background(), errors.New("read a.jpg:\n\tno such file"), 1, "prog: read a.jpg: no such file\n"},
		{context.Background(), fmt.Errorf("parse: %w", Usagef("--images is missing")), 2, "prog: parse: --images is missing (see prog --help)\n"},
		{cancelled, fmt.Errorf("batch: %w", context.Canceled), 1, "prog: stopped by a signal\n"},
		{cancelled, errors.New("disk full"), 1, "prog: disk full\n"},
	} {
		var w bytes.Buffer
		if status := Report(c.ctx, &w, "prog", c.err); status != c.status || w.String() != c.text {
			t.Errorf("Report(%v) = %d %q, want %d %q", c.err, status, w.String(), c.status, c.text)
		}
	}
}

func newFlags() (*FlagSet, *bytes.Buffer, *string, *string, *int) {
	var out bytes.Buffer
	f := Flags("mvp-x show", "STORE [flags]\nShows things.")
	f.out = &out
	model := f.String("model", "", "the teacher, an ONNX `file`")
	provider := f.Enum("provider", "auto", []string{"auto", "cpu"}, "what runs the model")
	batch := f.Int("batch", 8, "`images` per call")
	return f, &out, model, provider, batch
}

func TestFlagsFollowPositionals(t *testing.T) {
	f, _, model, provider, batch := newFlags()
	if err := f.Parse([]string{"a", "--model", "m.onnx", "b", "--provider=cpu", "--batch=3", "--", "--c"}); err != nil {
		t.Fatal(err)
	}
	if *model != "m.onnx" || *provider != "cpu" || *batch != 3 {
		t.Errorf("model %q, provider %q, batch %d", *model, *provider, *batch)
	}
	if got := strings.Join(f.Args(), " "); got != "a b --c" || f.NArg() != 3 || f.Arg(1) != "b" || f.Arg(3) != "" {
		t.Errorf("positionals %q", got)
	}
	if !f.IsSet("batch") || f.IsSet("log-format") {
		t.Error("IsSet is wrong")
	}
}

func TestFlagErrors(t *testing.T) {
	for args, want := range map[string]string{
		"--modle x":      "unknown flag --modle; did you mean --model?",
		"--zzzzzz":       "unknown flag --zzzzzz",
		"--batch eight":  `invalid value "eight" for flag --batch: parse error`,
		"--provider gpu": `invalid value "gpu" for flag --provider: must be one of auto, cpu`,
		"--model":        "flag needs an argument: --model",
	} {
		f, _, _, _, _ := newFlags()
		err := f.Parse(strings.Fields(args))
		var usage *UsageError
		if !errors.As(err, &usage) || err.Error() != want {
			t.Errorf("Parse(%s) gives %v, want %s", args, err, want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	f, out, _, _, _ := newFlags()
	if err := f.Parse([]string{"-h"}); err != ErrShown {
		t.Fatal(err)
	}
	for _, want := range []string{"usage: mvp-x show STORE [flags]\n\nShows things.\n", "  --model file ", "  --provider auto|cpu ", "what runs the model (default auto)", "  --log-format text|json "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, out)
		}
	}
	f, out, _, _, _ = newFlags()
	f.Libraries = func() []string { return []string{"oneDNN 3.2"} }
	if err := f.Parse([]string{"--version"}); err != ErrShown {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "mvp-x ") || !strings.HasSuffix(out.String(), "\n  oneDNN 3.2\n") || !strings.Contains(out.String(), "linux/amd64") {
		t.Errorf("version printed as %q", out)
	}
}

func TestDispatch(t *testing.T) {
	var ran []string
	commands := []Command{
		{"ls", "list", func(ctx context.Context, args []string) error { ran = args; return nil }},
		{"verify", "check", nil},
	}
	run := func(args ...string) error {
		return Dispatch(context.Background(), "mvp-x", "Looks at stores.", nil, args, commands)
	}
	if err := run("ls", "a", "--b"); err != nil || strings.Join(ran, " ") != "a --b" {
		t.Errorf("ls ran with %q, %v", ran, err)
	}
	for arg, want := range map[string]string{"": "no command given; known are ls, verify", "verfy": `unknown command "verfy"; did you mean verify?`, "remove": `unknown command "remove"; known are ls, verify`} {
		err := run(strings.Fields(arg)...)
		var usage *UsageError
		if !errors.As(err, &usage) || err.Error() != want {
			t.Errorf("%q gives %v, want %s", arg, err, want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"model", "images", "max-reject-fraction"}
	for word, want := range map[string]string{"modell": "model", "image": "images", "max-reject-frac": "max-reject-fraction", "x": "", "": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	if got := OneLine("a\n  b\r\n\x1b[1mc "); got != "a b [1mc" {
		t.Errorf("got %q", got)
	}
}
