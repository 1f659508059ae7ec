package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mvptargets/blas/cuda/emulator"
	"mvptargets/student/studenttest"
)

// TestMain lets the test binary stand in for the program. With TRAIN_TEST_FILE_LIMIT no file may grow beyond that many bytes, as on a disk
// that is full.
func TestMain(m *testing.M) {
	if os.Getenv("TRAIN_TEST") == "" {
		os.Exit(m.Run())
	}
	if limit := os.Getenv("TRAIN_TEST_FILE_LIMIT"); limit != "" {
		signal.Ignore(unix.SIGXFSZ)
		var n uint64
		for _, c := range limit {
			n = 10*n + uint64(c-'0')
		}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			panic(err)
		}
	}
	main()
}

// job is a run of the program on made-up data.
type job struct {
	t                          *testing.T
	images, store, recipe, out string
	args, env                  []string
}

func newJob(t *testing.T) job {
	t.Helper()
	dir := t.TempDir()
	j := job{t: t, recipe: filepath.Join(dir, "r.toml"), out: filepath.Join(dir, "run")}
	j.images, j.store = studenttest.Data(t, 20, 1)
	if err := os.WriteFile(j.recipe, []byte(studenttest.Recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	return j
}

// with is the job with more arguments; of a flag given twice the last counts.
func (j job) with(args ...string) job {
	j.args = append(append([]string{}, j.args...), args...)
	return j
}

func (j job) command() *exec.Cmd {
	args := append([]string{"--recipe", j.recipe, "--targets", j.store, "--images", j.images, "--out", j.out, "--threads", "2"}, j.args...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "TRAIN_TEST=1"), j.env...)
	return cmd
}

// run gives the exit status, -1 where a signal ended it, and the output.
func (j job) run() (status int, stdout, stderr string) {
	j.t.Helper()
	cmd := j.command()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	var exit *exec.ExitError
	if e := cmd.Run(); errors.As(e, &exit) {
		status = exit.ExitCode()
	} else if e != nil {
		j.t.Fatal(e)
	}
	return status, out.String(), err.String()
}

// trains runs the job to its end.
func (j job) trains() (stdout, stderr string) {
	j.t.Helper()
	status, stdout, stderr := j.run()
	if status != 0 {
		j.t.Fatalf("status %d: %s", status, stderr)
	}
	return stdout, stderr
}

// lastLine is the error: log lines may stand before it.
func lastLine(stderr string) string {
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	return lines[len(lines)-1]
}

// fails asks for a status and for words in the one line that says why.
func (j job) fails(status int, want ...string) {
	j.t.Helper()
	got, _, stderr := j.run()
	line := lastLine(stderr)
	if got != status || !strings.HasPrefix(line, "mvp-train: ") {
		j.t.Errorf("status %d, want %d; stderr %q", got, status, stderr)
	}
	for _, w := range want {
		if !strings.Contains(line, w) {
			j.t.Errorf("no %q in %q", w, line)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	j := newJob(t)
	j.with("--keep", "0").fails(2, "--keep must be at least 1")
	j.with("more").fails(2, `unexpected argument "more"`)
	j.with("--save-every", "soon").fails(2, "--save-every", "500", "15m")
	j.with("--device", "gpu").fails(2, "auto, cpu, cuda, ref")
	j.with("--recpie", "x").fails(2, "did you mean --recipe?")
	j.with("--set", "optimizer.lrr=1").fails(1, "unknown key optimizer.lrr, did you mean optimizer.lr?")
	j.recipe = filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(j.recipe, []byte("[model]\nwidht = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	j.fails(1, j.recipe, "line 2: unknown key model.widht, did you mean model.width?")
	j.recipe = "absent.toml"
	j.fails(1, "absent.toml", "no such file")
}

func TestWrongData(t *testing.T) {
	j := newJob(t)
	j.with("--targets", t.TempDir()).fails(1, "is no target store", "mvp-extract")
	j.with("--images", "/nowhere").fails(1, "images /nowhere do not exist")
	j.with("--images", t.TempDir()).fails(1, "class", "--images must be what the store was made from")
	j.with("--set", "model.image_size=64").fails(1, j.store, "grid", "model.image_size")
	j.with("--set", "train.batch=64", "--set", "train.micro_batch=64").fails(1, "40 rows", "batch of 64")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	j.with("--out", filepath.Join(file, "run")).fails(1, file, "not a directory", "--out")
	j.env = []string{"MVP_TURBOJPEG=/none.so", "MVP_JPEG="}
	if _, _, stderr := j.run(); strings.Contains(stderr, "libjpeg-turbo") { // the store's own decoder, where that is not Go's
		j.fails(1, "/none.so", "make deps")
	}
}

func TestDamagedData(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, j job)
		want []string
	}{
		"missing image": {func(t *testing.T, j job) {
			if err := os.Remove(filepath.Join(j.images, "class1/0003.jpg")); err != nil {
				t.Fatal(err)
			}
		}, []string{"class1/0003.jpg", "no such file", "--images must be"}},
		"changed image": {func(t *testing.T, j job) {
			flip(t, filepath.Join(j.images, "class0/0004.jpg"))
		}, []string{"class0/0004.jpg", "has changed", "make a new store"}},
		"damaged shard": {func(t *testing.T, j job) {
			shards, _ := filepath.Glob(filepath.Join(j.store, "shards", "*.arrow"))
			flip(t, shards[0])
		}, []string{".arrow", "mvp-shards verify"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t)
			c.harm(t, j)
			j.fails(1, c.want...)
		})
	}
}

// flip changes the byte in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	j := newJob(t).with("--save-every", "2")
	j.env = []string{"TRAIN_TEST_FILE_LIMIT=4096"} // the weights need more
	j.fails(1, "write checkpoint", "step-00000002", "file too large", "make room", "--resume")
	if left, _ := filepath.Glob(filepath.Join(j.out, "checkpoints", "*")); len(left) > 0 {
		t.Errorf("%v were left", left)
	}
	j.args = []string{"--save-every", "1000"}
	j.env = []string{"TRAIN_TEST_FILE_LIMIT=1500"}
	j.fails(1, "metrics.jsonl", "file too large", "make room")
	j.env = nil
	j.trains()
	if got := len(steps(t, j.out)); got != 15 {
		t.Errorf("%d lines of metrics after the disk had room again", got)
	}
}

func TestNonFiniteLossEndsTheRun(t *testing.T) {
	j := newJob(t).with("--set", "optimizer.lr=1e38", "--set", "optimizer.clip_norm=0", "--set", "optimizer.warmup_epochs=0", "--set", "train.epochs=20")
	j.fails(1, "10 steps in a row", "another run", "optimizer.lr")
	lines := steps(t, j.out)
	if last := lines[len(lines)-1]; last.Skipped != 10 || last.Loss != nil {
		t.Errorf("the last of %d steps is %+v", len(lines), last)
	}
}

func TestAnotherStoreOrRecipeIsNotContinued(t *testing.T) {
	j := newJob(t).with("--set", "train.epochs=2")
	j.trains()
	j.fails(1, j.out, "already has a checkpoint", "--resume", "--out")
	if stdout, _ := j.with("--resume").trains(); !strings.Contains(stdout, "all 10 steps are done") {
		t.Errorf("a run that is done says %q when it is resumed", stdout)
	}
	j.with("--resume", "--set", "optimizer.lr=1e-4").fails(1, "optimizer.lr was 0.0015, is 0.0001", filepath.Join(j.out, "recipe.toml"))
	images, store := studenttest.Data(t, 20, 2)
	j.with("--resume", "--images", images, "--targets", store).fails(1, "producer", store)
}

func TestARunHasOneTrainer(t *testing.T) {
	j := newJob(t).with("--set", "train.epochs=2")
	if err := os.MkdirAll(j.out, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(j.out, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	j.fails(1, j.out, "by another process")
}

func TestProfileAndHelp(t *testing.T) {
	j := newJob(t).with("--profile", "1")
	stdout, _ := j.trains()
	for _, want := range []string{"gemm fc1", "attention backward", "GFLOP/s", "as trained", "loading", "waiting for data"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %q", want, stdout)
		}
	}
	if _, err := os.Stat(j.out); err == nil {
		t.Error("a profile has written a run")
	}
	if stdout, _ := j.with("--help").trains(); !strings.Contains(stdout, "--save-every") {
		t.Errorf("help is %q", stdout)
	}
	if stdout, _ := j.with("--version").trains(); !strings.Contains(stdout, "mvp-train ") || !strings.Contains(stdout, "  cpu: ") {
		t.Errorf("the version is %q", stdout)
	}
}

// devices lists the processor and, on the emulated GPU, that; without a driver it says what is missing.
func TestDevices(t *testing.T) {
	run := func(want ...string) {
		cmd := exec.Command(os.Args[0], "devices")
		cmd.Env = append(os.Environ(), "TRAIN_TEST=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, w := range want {
			if !strings.Contains(string(out), w) {
				t.Errorf("no %q in %s", w, out)
			}
		}
	}
	t.Setenv("MVP_CUDA", "/nowhere/libcuda.so.1")
	run("cpu    ", "cuda   none: NVIDIA's driver not found", "/nowhere/libcuda.so.1")
	emulator.Use(t)
	run("cuda   0: emulated device, compute capability 9.0", "driver for CUDA 13.0", "cuBLASLt", "NVRTC")
}

// auto takes the GPU where there is one, here the emulated one, and the run is whole.
func TestTrainsOnAGPUByItself(t *testing.T) {
	emulator.Use(t)
	j := newJob(t)
	_, stderr := j.with("--set", `train.dtype="bf16"`).trains()
	if !strings.Contains(stderr, "emulated device") {
		t.Errorf("the device is not named: %s", stderr)
	}
}
