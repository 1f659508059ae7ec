package student_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/blas/ref"
	"mvptargets/student"
	"mvptargets/student/studenttest"
)

func tinyJob(t *testing.T, settings ...string) student.Job {
	t.Helper()
	images, store := studenttest.Data(t, 20, 1)
	return student.Job{Recipe: tinyRecipe(t, settings...), Targets: store, Images: images, Run: filepath.Join(t.TempDir(), "run"),
		SaveEvery: student.SaveEvery{Steps: 100}, Keep: 1, Log: slog.New(slog.DiscardHandler)}
}

// However a run ends, it gives back what it took from the device.
func TestTrainLeavesNothingOnTheDevice(t *testing.T) {
	for name, c := range map[string]struct {
		change func(j *student.Job)
		want   string
	}{
		"done":           {func(*student.Job) {}, ""},
		"missing images": {func(j *student.Job) { j.Images = t.TempDir() }, "--images"},
		"taken folder":   {func(j *student.Job) { j.Run = filepath.Join(j.Images, "class0/0000.jpg/run") }, "not a directory"},
	} {
		dev := ref.New()
		j := tinyJob(t, "train.epochs=2")
		c.change(&j)
		_, err := student.Train(context.Background(), dev, j)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if live := dev.Live(); len(live) > 0 {
			t.Errorf("%s: %d tensors live, the first %s", name, len(live), live[0].Name)
		}
		dev.Close()
	}
}

// The student of a checkpoint, and that of the recipe alone, encode; they differ where training changed it.
func TestEncodersOfARun(t *testing.T) {
	dev := ref.New()
	defer dev.Close()
	j := tinyJob(t)
	if _, err := student.Train(context.Background(), dev, j); err != nil {
		t.Fatal(err)
	}
	c, err := student.OpenCheckpoint(j.Run)
	if err != nil || c.Step != 15 || c.Recipe != j.Recipe {
		t.Fatalf("%+v, %v", c, err)
	}
	first := func(trained bool) float64 {
		m := c.Recipe.Encoder(dev, 0, 1, c.TargetDim)
		defer m.Close()
		if trained {
			if err := c.Load(m); err != nil {
				t.Fatal(err)
			}
		} else {
			m.Refresh()
		}
		m.Upload(&student.Batch{N: 1, Pixels: make([]uint8, 3*studenttest.Size*studenttest.Size)})
		m.Encode()
		v, err := m.Features(m.Depth)
		if err != nil {
			t.Fatal(err)
		}
		return v[0]
	}
	a, b := first(true), first(false)
	if a == b {
		t.Errorf("trained and untrained both give %v", a)
	}
	if _, err := student.OpenCheckpoint(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--out of mvp-train") {
		t.Errorf("an empty folder gives %v", err)
	}
	if _, err := student.OpenCheckpoint(filepath.Join(j.Run, "checkpoints", fmt.Sprintf("step-%08d", 15))); err != nil {
		t.Error(err)
	}
}

// A recipe that names no micro-batch gets one that suits the device, a divisor of the batch, which recipe.toml and the checkpoint then name; a
// resume keeps that of the run, also of one that was begun with another.
func TestMicroBatchOfTheDevice(t *testing.T) {
	for batch, want := range map[int]int{8: 8, 20: 10, 32: 16, 17: 1} {
		dev := ref.New()
		j := tinyJob(t, fmt.Sprintf("train.batch=%d", batch), "train.micro_batch=0", "train.epochs=1", "optimizer.warmup_epochs=0")
		var log strings.Builder
		j.Log = slog.New(slog.NewTextHandler(&log, nil))
		if _, err := student.Train(context.Background(), dev, j); err != nil {
			t.Fatal(err)
		}
		c, err := student.OpenCheckpoint(j.Run)
		if err != nil || c.Recipe.Train.MicroBatch != want {
			t.Errorf("a batch of %d is trained in %+v, %v", batch, c.Recipe.Train, err)
		}
		if r, err := student.ReadRecipe(filepath.Join(j.Run, "recipe.toml"), nil); err != nil || r != c.Recipe {
			t.Errorf("recipe.toml has %+v, %v", r, err)
		}
		if strings.Contains(log.String(), "slow micro-batch") != (want == 1) {
			t.Errorf("a batch of %d in micro-batches of %d logs %s", batch, want, &log)
		}
		dev.Close()
	}

	dev := ref.New()
	defer dev.Close()
	j := tinyJob(t, "train.epochs=1", "optimizer.warmup_epochs=0") // in micro-batches of 4
	if _, err := student.Train(context.Background(), dev, j); err != nil {
		t.Fatal(err)
	}
	j.Resume, j.Recipe.Train.MicroBatch = true, 0
	var log strings.Builder
	j.Log = slog.New(slog.NewTextHandler(&log, nil))
	if s, err := student.Train(context.Background(), dev, j); err != nil || s.Steps != 5 || !strings.Contains(log.String(), "images=4") {
		t.Errorf("%+v, %v; the log: %s", s, err, &log)
	}
	j.Recipe.Train.MicroBatch = 8
	if _, err := student.Train(context.Background(), dev, j); err == nil || !strings.Contains(err.Error(), "train.micro_batch was 4, is 8") {
		t.Errorf("another micro-batch is continued: %v", err)
	}
}
