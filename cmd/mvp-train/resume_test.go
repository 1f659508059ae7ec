package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// step is a line of metrics.jsonl.
type step struct {
	Step    int      `json:"step"`
	Loss    *float64 `json:"loss"`
	Norm    *float64 `json:"grad_norm"`
	LR      float64  `json:"lr"`
	Skipped int      `json:"skipped"`
}

// steps reads the metrics of a run and checks that they are steps 1, 2, 3 and so on, each once.
func steps(t *testing.T, run string) (out []step) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		var x step
		if err := json.Unmarshal(s.Bytes(), &x); err != nil || x.Step != len(out)+1 {
			t.Fatalf("line %d of metrics.jsonl is %q (%v)", len(out)+1, s.Text(), err)
		}
		out = append(out, x)
	}
	return out
}

// same compares the losses and norms of two runs bit by bit: JSON writes the shortest text that reads back as the same number.
func same(t *testing.T, got, want []step) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i, w := range want {
		if g := got[i]; *g.Loss != *w.Loss || *g.Norm != *w.Norm || g.LR != w.LR {
			t.Fatalf("step %d: loss %v, norm %v, learning rate %v; undisturbed %v, %v, %v", w.Step, *g.Loss, *g.Norm, g.LR, *w.Loss, *w.Norm, w.LR)
		}
	}
}

// undisturbed trains j to its end in a folder of its own and returns its metrics.
func undisturbed(j job) []step {
	j.t.Helper()
	j.out += "-undisturbed"
	j.trains()
	return steps(j.t, j.out)
}

// kill starts the job, which must not end by itself before wait says so, and kills it.
func (j job) kill(wait func()) {
	j.t.Helper()
	cmd := j.command()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		j.t.Fatal(err)
	}
	wait()
	cmd.Process.Kill()
	if err := cmd.Wait(); err == nil {
		return // it was faster; the resume that follows has nothing to do
	} else if strings.Contains(stderr.String(), "mvp-train: ") {
		j.t.Fatalf("the job failed before it was killed: %s", stderr.String())
	}
}

// Killed at random moments, many of them while a checkpoint is written since there is one at each step, and resumed each time, the run has
// the losses of an undisturbed one in every bit, each step once.
func TestKilledRunsContinueExactly(t *testing.T) {
	for _, dtype := range []string{"f32", "bf16"} {
		t.Run(dtype, func(t *testing.T) {
			j := newJob(t).with("--set", "train.epochs=12", "--set", "train.dtype="+dtype, "--set", "model.drop_path=0.1", "--save-every", "1", "--resume")
			started := time.Now()
			want := undisturbed(j)
			whole := time.Since(started)
			kills := 8
			if testing.Short() {
				kills = 3
			}
			for n := range kills {
				j.kill(func() { time.Sleep(time.Duration(rand.Int64N(int64(whole) * 2 / 3))) })
				left, _ := filepath.Glob(filepath.Join(j.out, "checkpoints", "step-????????"))
				t.Logf("after kill %d: checkpoints %v", n, left)
			}
			j.trains()
			same(t, steps(t, j.out), want)
		})
	}
}

// A job that is killed while a checkpoint is on its way leaves the folder under its temporary name, which the next one sweeps away.
func TestKilledWhileACheckpointIsWritten(t *testing.T) {
	j := newJob(t).with("--set", "train.epochs=40", "--save-every", "1", "--resume")
	found := 0
	for range 20 {
		j.kill(func() {
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
				if temps, _ := filepath.Glob(filepath.Join(j.out, "checkpoints", "*.tmp")); len(temps) > 0 {
					return
				}
			}
		})
		if temps, _ := filepath.Glob(filepath.Join(j.out, "checkpoints", "*.tmp")); len(temps) > 0 {
			found++
		}
		if found == 3 {
			break
		}
	}
	if found == 0 {
		t.Fatal("no checkpoint was caught half-written in 20 kills")
	}
	want := undisturbed(j)
	j.trains()
	same(t, steps(t, j.out), want)
	if temps, _ := filepath.Glob(filepath.Join(j.out, "checkpoints", "*.tmp")); len(temps) > 0 {
		t.Errorf("%v are left", temps)
	}
}

// A signal saves, says so in one line and gives status 1; the run continues where it stopped.
func TestSignalsSave(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		j := newJob(t).with("--set", "train.epochs=20", "--save-every", "1h", "--resume")
		cmd := j.command()
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if raw, _ := os.ReadFile(filepath.Join(j.out, "metrics.jsonl")); bytes.Count(raw, []byte("\n")) >= 3 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("no step in 20 s")
			}
		}
		cmd.Process.Signal(sig)
		cmd.Wait()
		line := lastLine(stderr.String())
		if cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(line, "mvp-train: stopped by a signal after step ") || !strings.Contains(line, "--resume continues") {
			t.Errorf("%v: status %d, %q", sig, cmd.ProcessState.ExitCode(), line)
		}
		j.trains()
		same(t, steps(t, j.out), undisturbed(j))
	}
}

// Of a run whose newest checkpoint is damaged the one before is taken, and a warning says so.
func TestADamagedCheckpointIsPassedOver(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string){
		"flipped":   func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "model.safetensors")) },
		"truncated": func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "state.safetensors")) },
		"missing": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
				t.Fatal(err)
			}
		},
		"no JSON": func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "state.json")) },
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t).with("--save-every", "4", "--resume")
			want := undisturbed(j)
			j.trains() // checkpoints at 12 and 15
			newest := filepath.Join(j.out, "checkpoints", "step-00000015")
			harm(t, newest)
			_, stderr := j.trains()
			if !strings.Contains(stderr, "WARN") || !strings.Contains(stderr, newest) || !strings.Contains(stderr, "step=12") {
				t.Errorf("the log is %s", stderr)
			}
			same(t, steps(t, j.out), want)
			harm(t, newest)
			harm(t, filepath.Join(j.out, "checkpoints", "step-00000012"))
			j.fails(1, "no checkpoint of run", newest, "backup", "--out")
		})
	}
}

// truncate halves a file.
func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The newest checkpoints stay, and milestones.
func TestCheckpointsArePruned(t *testing.T) {
	j := newJob(t).with("--save-every", "1", "--keep", "3", "--milestones", "1")
	j.trains()
	found, _ := filepath.Glob(filepath.Join(j.out, "checkpoints", "*"))
	var names []string
	for _, f := range found {
		names = append(names, strings.TrimLeft(strings.TrimPrefix(filepath.Base(f), "step-"), "0"))
	}
	if got := strings.Join(names, " "); got != "5 10 13 14 15" {
		t.Errorf("checkpoints %s", got)
	}
}

// Equal seeds and threads give equal losses in every bit, another seed gives others.
func TestEqualRunsHaveEqualLosses(t *testing.T) {
	for _, dtype := range []string{"f32", "bf16"} {
		t.Run(dtype, func(t *testing.T) {
			j := newJob(t).with("--device", "cpu", "--set", "train.dtype="+dtype, "--set", "model.drop_path=0.1")
			want := undisturbed(j)
			j.trains()
			same(t, steps(t, j.out), want)
			j.out += "-seed"
			j.with("--set", "train.seed=1", "--set", "train.epochs=2").trains()
			if *steps(t, j.out)[0].Loss == *want[0].Loss {
				t.Error("another seed has the same loss")
			}
		})
	}
}

// Where the disk fills up while a checkpoint or the metrics are written, the checkpoint before stays as it is, the one line says what to do,
// and with room again the run has the losses of an undisturbed one.
func TestAFullDiskLeavesTheCheckpointBefore(t *testing.T) {
	for name, c := range map[string]struct {
		room int // for a file, beyond the metrics of the steps done
		want []string
	}{
		"checkpoint": {2000, []string{"write checkpoint", "step-00000013", "file too large", "earlier checkpoints are untouched", "make room", "--resume"}},
		"metrics":    {50, []string{"metrics.jsonl", "file too large", "make room", "--resume"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t).with("--save-every", "4", "--resume")
			want := undisturbed(j)
			j.trains() // checkpoints at 12 and 15
			if err := os.RemoveAll(filepath.Join(j.out, "checkpoints", "step-00000015")); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(j.out, "metrics.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			kept := bytes.Join(bytes.SplitAfter(raw, []byte("\n"))[:12], nil)
			before := folder(t, filepath.Join(j.out, "checkpoints"))
			full := j.with("--save-every", "1")
			full.env = []string{fmt.Sprintf("TRAIN_TEST_FILE_LIMIT=%d", len(kept)+c.room)}
			full.fails(1, c.want...)
			if after := folder(t, filepath.Join(j.out, "checkpoints")); !maps.Equal(after, before) {
				t.Errorf("of the checkpoints %v are left, there were %v", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
			}
			j.trains()
			same(t, steps(t, j.out), want)
		})
	}
}

// folder is all files below dir with what is in them.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		files[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
