package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/internal/cli"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

func smallStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := shards.Create(dir, shards.Manifest{Grid: [2]int{2, 2}, Dim: 3, Producer: shards.Producer{Features: "hidden", Precision: "f32",
		Size: 32, Policy: view.NewCenter(), Encoding: shards.EncodingF16}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer(shards.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		r := &shards.Row{Identity: shards.Identity{Key: string(rune('a' + i)), Image: [32]byte{byte(i)}}, View: view.View{W: 9, H: 9}, Label: -1, Patches: make([]uint16, 12)}
		if err := w.Append(r); err != nil {
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
	for command, want := range map[string]string{"ls": "2    20", "stat": "20 views of 20 images", "verify": "20 rows, 0 repeated, 0 leftovers of killed jobs, 0 problems"} {
		var out bytes.Buffer
		if err := run(context.Background(), []string{command, dir}, &out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, printed %q", command, err, out.String())
		}
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
	for _, args := range [][]string{{}, {"ls"}, {"shred", t.TempDir()}, {"ls", "--quick", t.TempDir()}} {
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
