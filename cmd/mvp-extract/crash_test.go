package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mvptargets/shards"
)

const teacherFile = "../../testdata/teacher/teacher.onnx"

// storeRows reads a store as "key view" -> all that is stored of the row, and fails unless it verifies. A store that is not there yet
// has no rows.
func storeRows(t *testing.T, dir string) map[string]string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "store.json")); err != nil {
		return nil
	}
	s, err := shards.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.Verify(context.Background(), nil)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("the store does not verify: %v, %v", report, err)
	}
	index, err := s.Index()
	if err != nil {
		t.Fatal(err)
	}
	r := s.Reader()
	defer r.Close()
	all := map[string]string{}
	var b shards.Batch
	for _, ref := range index.Batches {
		if err := r.ReadBatch(ref, &b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Rows {
			var data bytes.Buffer
			fmt.Fprint(&data, b.View[i], b.Label[i], b.Image[i])
			for _, column := range [][]uint16{b.Patches, b.CLS} {
				n := len(column) / b.Rows
				binary.Write(&data, binary.LittleEndian, column[i*n:(i+1)*n])
			}
			all[fmt.Sprint(b.Key[i], " ", b.View[i].Index)] = data.String()
		}
	}
	return all
}

func sameRows(t *testing.T, got, want map[string]string) {
	t.Helper()
	wrong := 0
	for key, w := range want {
		if got[key] != w {
			wrong++
		}
	}
	if len(got) != len(want) || wrong > 0 {
		t.Errorf("%d rows, want %d; %d are missing or differ", len(got), len(want), wrong)
	}
}

// begin starts the program.
func begin(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "MVP_EXTRACT_TEST=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, &stderr
}

// soak is how many times more than in a usual run of the tests the crash tests do; `make soak` sets it.
func soak() int {
	n, _ := strconv.Atoi(os.Getenv("MVP_SOAK"))
	return max(1, n)
}

// scenes makes a folder of n links to images of the tree.
func scenes(t *testing.T, n int) string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/scenes/train/*/*.jpg")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d images, %v", len(files), err)
	}
	dir := t.TempDir()
	for i := range n {
		target, err := filepath.Abs(files[i%len(files)])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, fmt.Sprintf("%04d.jpg", i))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func shardCount(store string) int {
	files, _ := filepath.Glob(store + "/shards/*.arrow")
	return len(files)
}

// waitForShards waits until a store has n shards, but not for ever.
func waitForShards(store string, n int) {
	for deadline := time.Now().Add(10 * time.Second); shardCount(store) < n && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
}

// A job of many small shards is killed 30 times at random moments: after each kill the store verifies and has all rows that it had, what
// is left in the way of an unfinished file is at most one shard, and in the end the rows are those of a job that ran undisturbed.
func TestKilledAtAnyMoment(t *testing.T) {
	needsLibrary(t)
	kills, images := 30*soak(), 1000*soak()
	if testing.Short() {
		kills = 5
	}
	const views, shardBytes, batchBytes = 2, 200_000, 300_000 // 16 rows are a batch
	args := func(store string) []string {
		return []string{"--model", teacherFile, "--images", scenes(t, images), "--out", store, "--provider", "cpu", "--view", "rrc", "--views", fmt.Sprint(views),
			"--threads", "1", "--loaders", "1", "--shard-bytes", fmt.Sprint(shardBytes)}
	}
	whole := filepath.Join(t.TempDir(), "whole")
	if status, _, stderr := program(t, nil, args(whole)...); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	want := storeRows(t, whole)

	store := filepath.Join(t.TempDir(), "store")
	again := args(store)
	killed, useful, before, leftovers := 0, 0, 0, 0
	for killed < kills && before < len(want) {
		cmd, _ := begin(t, again...)
		if killed%3 == 0 { // any moment, from before the model is open
			time.Sleep(time.Duration(rand.Int64N(int64(500 * time.Millisecond))))
		} else { // about the time when a shard is published
			waitForShards(store, shardCount(store)+1)
			time.Sleep(time.Duration(rand.Int64N(int64(5 * time.Millisecond))))
		}
		cmd.Process.Kill()
		if cmd.Wait() == nil {
			break // it was through
		}
		killed++
		rows := len(storeRows(t, store))
		if rows < before {
			t.Fatalf("after kill %d the store has %d rows, before it had %d", killed, rows, before)
		}
		left, _ := filepath.Glob(store + "/*/.tmp-*")
		for _, f := range left {
			if info, err := os.Stat(f); err == nil && info.Size() > shardBytes+batchBytes {
				t.Errorf("kill %d left %s of %d bytes, more than a shard", killed, f, info.Size())
			}
		}
		if len(left) > leftovers+1 {
			t.Errorf("kill %d left %d unfinished files", killed, len(left)-leftovers)
		}
		if rows > before {
			useful++
		}
		before, leftovers = rows, len(left)
	}
	if killed < kills/3 {
		t.Errorf("the job was through after %d kills", killed)
	}
	t.Logf("%d kills, %d of them after new shards; then %d of %d rows were there", killed, useful, before, len(want))
	if status, _, stderr := program(t, nil, again...); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	sameRows(t, storeRows(t, store), want)
}

// shardBegun waits until a worker writes its first shard.
func shardBegun(t *testing.T, store string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if files, _ := filepath.Glob(store + "/shards/.tmp-*"); len(files) > 0 {
			return
		}
	}
	t.Fatal("no shard was begun in 30 s")
}

func TestATermSignalEndsTheProgram(t *testing.T) {
	needsLibrary(t)
	store := filepath.Join(t.TempDir(), "store")
	cmd, stderr := begin(t, "--model", tower, "--images", scenes(t, 600), "--out", store, "--provider", "cpu", "--view", "rrc", "--views", "20", "--threads", "1")
	shardBegun(t, store)
	stopped := time.Now()
	cmd.Process.Signal(syscall.SIGTERM)
	err := cmd.Wait()
	if took := time.Since(stopped); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if err == nil || lastLine(stderr.String()) != "mvp-extract: stopped by a signal" {
		t.Errorf("%v, %q", err, stderr)
	}
	if n := len(storeRows(t, store)); n == 0 || n == 600*20 {
		t.Errorf("%d rows were published; the signal was to come in the middle", n)
	}
	if left, _ := filepath.Glob(store + "/*/.tmp-*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// smallDisk mounts a file system of a few megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Skip("no small disk can be mounted here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	return dir
}

func TestAFullDiskLosesNothing(t *testing.T) {
	needsLibrary(t)
	disk := smallDisk(t, 2)
	store := filepath.Join(disk, "store")
	args := []string{"--model", teacherFile, "--images", scenes(t, 200), "--out", store, "--provider", "cpu", "--shard-bytes", "300000"}
	status, _, stderr := program(t, nil, args...)
	if line := lastLine(stderr); status != 1 || !strings.Contains(line, "no space left on device") || !strings.Contains(line, store) || !strings.Contains(line, "run the same command again") {
		t.Errorf("status %d, %q", status, line)
	}
	before := storeRows(t, store)
	if len(before) == 0 || len(before) == 200 {
		t.Errorf("%d rows on the full disk", len(before))
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=50m"); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := program(t, nil, args...); status != 0 || !strings.Contains(stdout, fmt.Sprint(len(before))+" reused") {
		t.Errorf("with room: status %d, %q, %q", status, stdout, stderr)
	}
	after := storeRows(t, store)
	if len(after) != 200 {
		t.Errorf("%d rows in the end", len(after))
	}
	for key, row := range before {
		if after[key] != row {
			t.Errorf("row %s changed", key)
		}
	}
}
