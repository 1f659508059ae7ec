package student

import (
	"context"
	"fmt"
	"io"
	"time"

	"mvptargets/blas"
	"mvptargets/blas/profile"
)

// Profile measures the job's step on dev and prints a table per operation to w: one step to warm up, steps as a run does them, and the
// same number with each operation waited for; and loading by itself. It writes nothing into the run's folder.
func Profile(ctx context.Context, dev blas.Device, j Job, steps int, w io.Writer) error {
	timed := profile.New(dev)
	t, err := newTrainer(timed, j)
	if err != nil {
		return err
	}
	defer t.close()
	t.book = func(Metrics) error { return nil }
	t.model.Refresh()
	t.logPlan()
	loading, err := t.loadAlone(steps)
	if err != nil {
		return err
	}
	feed := t.loader.Feed(0, 2*steps+1)
	defer feed.Close()
	do := func(n int) (took, waited time.Duration, err error) {
		start, before := time.Now(), feed.Waited
		for range n {
			if err := t.step(ctx, feed); err != nil {
				return 0, 0, err
			}
		}
		if err := t.settle(feed); err != nil {
			return 0, 0, err
		}
		return time.Since(start), feed.Waited - before, nil
	}
	if _, _, err := do(1); err != nil {
		return err
	}
	took, waited, err := do(steps)
	if err != nil {
		return err
	}
	timed.On = true
	slow, _, err := do(steps)
	if err != nil {
		return err
	}
	if err := profile.Write(w, timed.Rows(), steps); err != nil {
		return err
	}
	images := float64(steps * j.Recipe.Train.Batch)
	_, err = fmt.Fprintf(w, "\n%d steps of %d images on %s\n", steps, j.Recipe.Train.Batch, describe(dev))
	line := func(name string, took time.Duration) {
		if err == nil {
			_, err = fmt.Fprintf(w, "%-30s %10.2f ms/step %10.4g images/s\n", name, 1e3*took.Seconds()/float64(steps), images/max(took.Seconds(), 1e-9))
		}
	}
	line("as trained", took)
	line("computing, without waits", took-waited)
	line("loading, nothing else running", loading)
	line("operation by operation", slow)
	if err == nil {
		_, err = fmt.Fprintf(w, "%-30s %10.2f ms/step\n", "waiting for data", 1e3*waited.Seconds()/float64(steps))
	}
	return err
}

// loadAlone times the loading of some steps.
func (t *trainer) loadAlone(steps int) (time.Duration, error) {
	l, err := NewLoader(t.Recipe, t.store, t.Images)
	if err != nil {
		return 0, err
	}
	var b Batch
	start := time.Now()
	for i := range steps * t.micros {
		if err := l.Load(&b, i/t.micros, i%t.micros); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}
