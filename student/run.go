package student

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mvptargets/internal/atomicfile"
)

// SaveEvery says when checkpoints are due: after so many steps, or after so much time. It is a flag.Value.
type SaveEvery struct {
	Steps int
	Time  time.Duration
}

func (s SaveEvery) String() string {
	if s.Steps > 0 {
		return fmt.Sprintf("every %d steps", s.Steps)
	}
	return fmt.Sprintf("every %v", s.Time)
}

// Set reads a number of steps or a duration.
func (s *SaveEvery) Set(text string) error {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		*s = SaveEvery{Steps: n}
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return errors.New("want a number of steps, such as 500, or a time, such as 15m")
	}
	*s = SaveEvery{Time: d}
	return nil
}

// due tells whether a checkpoint is due so many steps and so much time after the last.
func (s SaveEvery) due(steps int, since time.Duration) bool {
	return s.Steps > 0 && steps >= s.Steps || s.Time > 0 && since >= s.Time
}

// lockName is the file of a run's folder that its trainer holds locked, so that no second one, such as a job that was requeued too early,
// writes there.
const lockName = ".lock"

// begin takes the run's folder: it locks it, continues from its newest sound checkpoint or starts afresh, and opens the metrics.
func (t *trainer) begin() error {
	if err := os.MkdirAll(filepath.Join(t.Run, checkpointDir), 0o755); err != nil {
		return fmt.Errorf("run's folder: %w; choose another --out", err)
	}
	unlock, err := lock(t.Run)
	if err != nil {
		return err
	}
	t.unlock = unlock
	if err := sweep(t.Run); err != nil {
		return fmt.Errorf("run's folder: %w", err)
	}
	all, err := checkpoints(t.Run)
	if err != nil {
		return fmt.Errorf("run's folder: %w", err)
	}
	if len(all) > 0 && !t.Resume {
		return fmt.Errorf("run %s already has a checkpoint, %s: continue it with --resume, or choose another --out", t.Run, filepath.Base(all[len(all)-1]))
	}
	if len(all) > 0 {
		err = t.resume(all)
	} else {
		t.model.Refresh()
		err = t.Recipe.Write(t.Run)
	}
	if err != nil {
		return err
	}
	t.metrics, err = openMetrics(t.Run, t.done)
	return err
}

// resume continues from the newest of the checkpoints that is sound; the others are left for the user to look at.
func (t *trainer) resume(all []string) error {
	var damage error
	for i := len(all) - 1; i >= 0; i-- {
		c, err := readCheckpoint(all[i])
		if err == nil {
			if err := t.fits(c); err != nil {
				return err
			}
			err = c.Load(t.model)
		}
		if err != nil {
			t.Log.Warn("a checkpoint cannot be used, trying the one before", "error", err)
			damage = errors.Join(damage, err)
			continue
		}
		t.done, t.saved, t.summary = c.Step, c.Step, Summary{Steps: c.Step, Checkpoint: all[i]}
		t.Log.Info("resuming", "checkpoint", all[i], "step", c.Step)
		if now := describe(t.dev); now != c.Device {
			t.Log.Warn("the run goes on with other arithmetic: losses differ in the last bits from those of an undisturbed run", "was", c.Device, "is", now)
		}
		return nil
	}
	return fmt.Errorf("no checkpoint of run %s can be used: %w; restore one from a backup, or start again with another --out", t.Run, damage)
}

// fits refuses to continue a run with anything else than it began with.
func (t *trainer) fits(c *Checkpoint) error {
	if id := t.store.Manifest().ProducerID; c.ProducerID != id {
		return fmt.Errorf("run %s was trained on targets of producer %.12s, %s has %.12s: give the store that it began with", t.Run, c.ProducerID, t.Targets, id)
	}
	if diff := c.Recipe.Diff(t.Recipe); len(diff) > 0 {
		return fmt.Errorf("run %s was begun with another recipe (%s): continue with its own, --recipe %s", t.Run, strings.Join(diff, "; "), filepath.Join(t.Run, "recipe.toml"))
	}
	return nil
}

// lock takes a run's folder for this process, until unlock or its end. File systems without locks are taken as they are.
func lock(run string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(run, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("run's folder: %w; choose another --out", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("run %s is being trained by another process: wait until it ends, or choose another --out", run)
	}
	return func() { f.Close() }, nil
}

// sweep removes what a killed process left unfinished in a run's folder.
func sweep(run string) error {
	for _, pattern := range []string{filepath.Join(run, checkpointDir, "*"+tempSuffix), filepath.Join(run, "*")} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if !strings.HasSuffix(path, tempSuffix) && !atomicfile.IsTemp(filepath.Base(path)) {
				continue
			}
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}
