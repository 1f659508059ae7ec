package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mvptargets/student"
)

var flagAtStart = regexp.MustCompile(`(?m)^\W+--([a-z-]+)`)

// The flags in the table of docs/training.md are those of --help.
func TestDocumentedFlags(t *testing.T) {
	text, err := os.ReadFile("../../docs/training.md")
	if err != nil {
		t.Fatal(err)
	}
	help, _ := newJob(t).with("--help").trains()
	names := func(text string) (out []string) {
		for _, m := range flagAtStart.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	_, table, _ := strings.Cut(string(text), "| flag |")
	table, _, _ = strings.Cut(table, "\n\n")
	_, flags, _ := strings.Cut(help, "flags:\n")
	if got, want := names(table), names(flags); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("documented are %v, in the help are %v", got, want)
	}
}

// The command at the head of each recipe that the project ships is one that the program takes, with that very recipe.
func TestCommandsOfShippedRecipes(t *testing.T) {
	paths, err := filepath.Glob("../../pipelines/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("found the recipes %v, %v", paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, command, _ := strings.Cut(string(text), "# Command:")
		_, command, _ = strings.Cut(command, " bin/mvp-train ")
		command, _, _ = strings.Cut(command, "\n")
		words := strings.Fields(command)
		if len(words) < 2 || words[0] != "--recipe" || filepath.Join("../..", words[1]) != path {
			t.Errorf("%s: the command is %q", path, command)
			continue
		}
		for _, flag := range []string{"--targets", "--images", "--out"} {
			if !slices.Contains(words, flag) {
				t.Errorf("%s: the command has no %s", path, flag)
			}
		}
		cmd := exec.Command(os.Args[0], append(words, "--help")...)
		cmd.Env = append(os.Environ(), "TRAIN_TEST=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
		if _, err := student.ReadRecipe(path, nil); err != nil {
			t.Error(err)
		}
	}
}

// Slurm's job file, run by bash with a scontrol that only notes its arguments: upon Slurm's signal it ends with a checkpoint and goes back
// into the queue, and the job that Slurm starts again has the losses of an undisturbed one.
func TestSlurmsJobFileGoesOn(t *testing.T) {
	j := newJob(t).with("--set", "train.epochs=20", "--resume")
	want := undisturbed(j)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"mvp-train": "#!/bin/sh\nTRAIN_TEST=1 exec " + os.Args[0] + " \"$@\"\n",
		"scontrol":  "#!/bin/sh\necho \"$@\" >" + filepath.Join(dir, "asked") + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	start := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command("bash", "../../pipelines/slurm/train.sbatch", "--set", "train.epochs=20", "--save-every", "1h")
		cmd.Env = append(os.Environ(), "RECIPE="+j.recipe, "TARGETS="+j.store, "IMAGES="+j.images, "RUN="+j.out, "BIN="+dir,
			"SLURM_CPUS_PER_TASK=2", "SLURM_JOB_ID=7", "PATH="+dir+":"+os.Getenv("PATH"))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &stderr
	}
	job, stderr := start()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if raw, _ := os.ReadFile(filepath.Join(j.out, "metrics.jsonl")); bytes.Count(raw, []byte("\n")) >= 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no step in 20 s: %s", stderr)
		}
	}
	job.Process.Signal(unix.SIGUSR1)
	job.Wait()
	if asked, err := os.ReadFile(filepath.Join(dir, "asked")); err != nil || string(asked) != "requeue 7\n" {
		t.Errorf("asked of Slurm: %q (%v); the log: %s", asked, err, stderr)
	}
	if !strings.Contains(stderr.String(), "--resume continues") {
		t.Errorf("the log: %s", stderr)
	}
	if job, stderr = start(); job.Wait() != nil {
		t.Fatalf("started again: %s", stderr)
	}
	same(t, steps(t, j.out), want)
}
