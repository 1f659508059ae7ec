package extract

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mvptargets/shards/view"
)

// childEnv makes the test binary a worker that runs the Config in it, so that tests can kill it.
const childEnv = "EXTRACT_TEST_CONFIG"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(work(text))
	}
	os.Exit(m.Run())
}

func work(text string) int {
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if _, err := Run(ctx, c); err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	return 0
}

func worker(t *testing.T, c Config) *exec.Cmd {
	t.Helper()
	c.Log = nil
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func TestATermSignalPublishesWhatIsDone(t *testing.T) {
	c := config(t, pictures(t, 400))
	c.Policy, c.Views = view.NewRRC(0.2, 3), 8
	cmd := worker(t, c)
	var found int
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if entries, _ := filepath.Glob(c.Store + "/shards/*"); len(entries) > 0 {
			break // the shard in flight
		}
		if time.Now().After(deadline) {
			t.Fatal("no shard was begun in 20 s")
		}
	}
	stopped := time.Now()
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if took := time.Since(stopped); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if found = len(rows(t, c.Store)); found == 0 || found == 400*8 {
		t.Errorf("%d rows were published; the signal was to come in the middle", found)
	}
	left, _ := filepath.Glob(c.Store + "/shards/*")
	for _, path := range left {
		if !strings.HasSuffix(path, ".arrow") {
			t.Errorf("%s was left behind", path)
		}
	}
}

func TestAVanishedSourceEndsTheJob(t *testing.T) {
	images := pictures(t, 300)
	c := config(t, images)
	c.Policy, c.Views, c.Loaders = view.NewRRC(0.2, 3), 8, 1
	cmd := worker(t, c)
	for range 1000 {
		if entries, _ := filepath.Glob(c.Store + "/shards/*"); len(entries) > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := os.RemoveAll(images); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the job ended with %v", err)
	}
	if n := len(rows(t, c.Store)); n == 0 || n == 300*8 {
		t.Errorf("%d rows were kept", n)
	}
}
