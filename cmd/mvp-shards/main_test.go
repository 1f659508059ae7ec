package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mvptargets/internal/cli"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

func smallStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := shards.Create(dir, shards.Manifest{Grid: [2]int{2, 2}, Dim: 3, Producer: shards.Producer{Features: "hidden", Precision: "f32",
		Size: 32, Policy: view.NewCenter(), Encoding: shards.EncodingF16}, Classes: []string{"cat", "dog"}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer(shards.WriterOptions{Library: "onnxruntime 1.2"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		r := &shards.Row{Identity: shards.Identity{Key: string(rune('a' + i)), Image: [32]byte{byte(i)}}, View: view.View{W: 9, H: 9}, Label: -1, Patches: make([]uint16, 12)}
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	for key, reason := range map[string]string{"x.jpg": "open /images/x.jpg: permission denied", "y/z.jpg": "open /images/y/z.jpg: permission denied", "e.png": "empty file"} {
		if err := w.Reject(key, reason); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCommands(t *testing.T) {
	dir := smallStore(t)
	for command, want := range map[string][]string{
		"ls": {"batches  rows  repeated  bytes", "2    20         0", "onnxruntime 1.2"},
		"stat": {"20 views of 20 images, 0 repeated", "24 raw", "batches of 10 rows; a window of 64 of them draws from 20 rows", "2: cat, dog", "rejects      3 images",
			"2: open /images/...: permission denied", "1: empty file", "computed by  onnxruntime 1.2: 1 shards"},
		"verify": {"20 rows, 0 repeated, 0 leftovers of killed jobs, 0 problems"},
	} {
		var out bytes.Buffer
		if err := run(context.Background(), []string{command, dir}, &out); err != nil {
			t.Errorf("%s: %v", command, err)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: no %q in %s", command, w, out.String())
			}
		}
	}
	var out bytes.Buffer
	var got summary
	if err := run(context.Background(), []string{"stat", dir, "--json"}, &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Rows != 20 || got.Views[0] != 20 || got.Rejects != 3 || got.Producer.Features != "hidden" {
		t.Errorf("as JSON: %+v, %v", got, err)
	}
}

func TestDamageFailsVerify(t *testing.T) {
	dir := smallStore(t)
	files, _ := filepath.Glob(filepath.Join(dir, "shards", "*.arrow"))
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(files[0], raw, 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = run(context.Background(), []string{"verify", dir}, &out)
	if err == nil || !strings.Contains(out.String(), files[0]) {
		t.Errorf("verify of a damaged store: %v, printed %q", err, out.String())
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"ls"}, {"shred", t.TempDir()}, {"ls", "--quick", t.TempDir()}, {"ls", "--json", t.TempDir()}} {
		var usage *cli.UsageError
		if err := run(context.Background(), args, &bytes.Buffer{}); !errors.As(err, &usage) {
			t.Errorf("%q gave %v", args, err)
		}
	}
	err := run(context.Background(), []string{"stat", t.TempDir()}, &bytes.Buffer{})
	var usage *cli.UsageError
	if err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), "mvp-extract") {
		t.Errorf("a folder that is no store gave %v", err)
	}
}

// A store is summed up while workers rename and remove files in it.
func TestDiskBytesBesideAWorker(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 10), 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var worker sync.WaitGroup
	worker.Go(func() {
		for path := filepath.Join(dir, "b", "file"); ; {
			select {
			case <-done:
				return
			default:
			}
			os.MkdirAll(filepath.Dir(path), 0o755)
			os.WriteFile(path, nil, 0o644)
			os.RemoveAll(filepath.Dir(path))
		}
	})
	for range 2000 {
		if n, err := diskBytes(dir); n != 10 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
			break
		}
	}
	close(done)
	worker.Wait()
	if _, err := diskBytes(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
