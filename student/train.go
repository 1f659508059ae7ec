package student

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mvptargets/blas"
	"mvptargets/internal/progress"
	"mvptargets/shards"
)

// Job is one training run.
type Job struct {
	Recipe     Recipe
	Targets    string    // the target store
	Images     string    // what the store was made from
	Run        string    // the folder that receives recipe, metrics and checkpoints
	Resume     bool      // continue from the newest sound checkpoint of Run; where there is none, start
	SaveEvery  SaveEvery // when checkpoints are written besides the last
	Keep       int       // how many of them stay; milestones and the last one are not counted
	Milestones int       // every so many epochs a checkpoint is written that stays; 0 for never
	Log        *slog.Logger
	Terminal   *os.File // where the progress bar is drawn if it is a terminal
}

// Summary tells what Train did.
type Summary struct {
	Steps      int     // steps done in all
	Loss       float64 // of the last one
	ImagesSec  float64 // over this call
	Waited     float64 // share of its time that the trainer waited for data
	Checkpoint string  // the folder of the last checkpoint
}

// maxNonFinite is how many steps in a row may be skipped, their gradient not finite, before a run ends: it would not recover.
const maxNonFinite = 10

// Train runs the job on dev from its first step, or its newest checkpoint, to the last. Where it ends early, because ctx ended or data
// could not be read, it writes a checkpoint of the steps done first.
func Train(ctx context.Context, dev blas.Device, j Job) (Summary, error) {
	t, err := newTrainer(dev, j)
	if err != nil {
		return Summary{}, err
	}
	defer t.close()
	if err := t.begin(); err != nil {
		return Summary{}, err
	}
	t.logPlan()
	feed := t.loader.Feed(t.done, t.schedule.Total)
	defer feed.Close()
	err = t.run(ctx, feed)
	s := t.summary
	s.Waited = feed.Waited.Seconds() / max(time.Since(t.started).Seconds(), 1e-9)
	return s, err
}

// trainer is a job on its way.
type trainer struct {
	Job
	dev       blas.Device
	store     *shards.Store
	loader    *Loader
	model     *Model
	optimizer Optimizer
	schedule  Schedule
	perEpoch  int
	micros    int // in a step
	unlock    func()
	metrics   *metricsFiles

	issued  int                        // steps that the device has been given
	figures func() (StepResult, error) // of the last of them, until they are read
	done    int                        // steps whose figures were read
	settled time.Time                  // when the last ones were
	waited  time.Duration              // for data until then
	saved   int                        // the step of the newest checkpoint
	savedAt time.Time
	skipped int // steps skipped by the end of the last finite one
	first   int // steps done before this call
	started time.Time
	summary Summary
	bar     *progress.Bar
	book    func(Metrics) error // what becomes of a step's figures
}

// newTrainer opens the data and builds the model of a job; it writes nothing.
func newTrainer(dev blas.Device, j Job) (*trainer, error) {
	j.chooseMicroBatch(dev)
	t := &trainer{Job: j, dev: dev, unlock: func() {}, started: time.Now()}
	var err error
	if t.store, err = shards.Open(j.Targets); err != nil {
		return nil, err
	}
	r, manifest := j.Recipe, t.store.Manifest()
	if t.loader, err = NewLoader(r, t.store, j.Images); err != nil {
		return nil, err
	}
	compute, err := blas.ParseDType(r.Train.DType)
	if err != nil {
		return nil, err
	}
	t.perEpoch, t.micros = t.loader.StepsPerEpoch(), r.Train.Batch/r.Train.MicroBatch
	t.schedule = r.Schedule(t.perEpoch)
	t.optimizer = Optimizer{Beta1: r.Optimizer.Betas[0], Beta2: r.Optimizer.Betas[1], Eps: r.Optimizer.Eps, MaxNorm: r.Optimizer.ClipNorm}
	options := Options{Compute: compute, Batch: r.Train.MicroBatch, LossRows: r.Mask.Count, Masked: r.Mask.Count,
		DropPath: r.Model.DropPath > 0, Loss: Loss{Kind: r.Loss.Kind, Beta: r.Loss.Beta}, MicroN: t.micros}
	t.model = NewModel(dev, r.Config(manifest.Dim), options, r.Train.Seed)
	if err := dev.Sync(); err != nil { // its memory could not be had
		t.close()
		return nil, fmt.Errorf("the model on %s: %w", dev.Info().Name, noRoom(err, r.Config(manifest.Dim), options, r.Train.Batch))
	}
	return t, nil
}

// chooseMicroBatch completes a recipe that names no micro-batch: with that of the checkpoint which the run goes on from, whose sums then go
// on in the same order, else with what suits dev.
func (j *Job) chooseMicroBatch(dev blas.Device) {
	n, batch := &j.Recipe.Train.MicroBatch, j.Recipe.Train.Batch
	if *n > 0 {
		return
	}
	reason := "as suits " + dev.Info().Name
	if j.Resume {
		all, _ := checkpoints(j.Run) // begin tells what is wrong with the folder
		for _, dir := range slices.Backward(all) {
			if c, err := readCheckpoint(dir); err == nil && c.Recipe.Train.MicroBatch > 0 {
				*n, reason = c.Recipe.Train.MicroBatch, "as in "+dir
				break
			}
		}
	}
	if *n == 0 {
		suits := dev.Info().Samples
		*n = largestDivisor(batch, suits)
		if *n < min(batch, suits)/2 {
			j.Log.Warn("slow micro-batch: train.batch has no divisor near what suits the device", "batch", batch, "divisor", *n, "suits", suits)
		}
	}
	j.Log.Info("micro-batch", "images", *n, "of", batch, "chosen", reason)
}

// largestDivisor is the largest divisor of n that is at most limit.
func largestDivisor(n, limit int) int {
	for d := min(n, limit); d > 1; d-- {
		if n%d == 0 {
			return d
		}
	}
	return 1
}

func (t *trainer) close() {
	if t.metrics != nil {
		t.metrics.close()
	}
	t.unlock()
	t.model.Close()
}

// logPlan says what the run will do and what it takes.
func (t *trainer) logPlan() {
	r, bytes, params := t.Recipe, 0, 0
	for _, a := range t.dev.Live() {
		bytes += a.Bytes
	}
	for _, p := range t.model.Params.List {
		if p.Name != "" {
			params += p.Len()
		}
	}
	t.Log.Info("targets", "producer", t.store.Manifest().ProducerID, "rows", t.loader.index.Rows, "features", t.store.Manifest().Producer.Features)
	t.Log.Info("plan", "steps", t.schedule.Total, "done", t.done, "epochs", r.Train.Epochs, "images", t.schedule.Total*r.Train.Batch,
		"batch", r.Train.Batch, "micro_batch", r.Train.MicroBatch, "dtype", r.Train.DType,
		"parameters", params, "device_memory", fmt.Sprintf("%.0f MB", float64(bytes)/1e6), "checkpoints", t.SaveEvery)
}

// run does the steps that are left. While the device does a step, the figures of the one before it are read and booked.
func (t *trainer) run(ctx context.Context, feed *Feed) error {
	t.started, t.savedAt, t.settled = time.Now(), time.Now(), time.Now()
	t.book = t.tell
	t.bar = progress.New(t.Log, t.Terminal, "train", int64((t.schedule.Total-t.done)*t.Recipe.Train.Batch))
	defer t.bar.Done()
	t.first, t.issued, t.waited = t.done, t.done, feed.Waited
	for t.issued < t.schedule.Total {
		err := t.step(ctx, feed)
		switch {
		case errors.As(err, new(*dataError)):
			return t.stop(ctx, feed, err)
		case err != nil:
			return err
		}
		if t.milestone(t.issued) || t.issued == t.schedule.Total || t.SaveEvery.due(t.issued-t.saved, time.Since(t.savedAt)) {
			if err := t.settle(feed); err != nil {
				return err
			}
			if err := t.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell adds a step whose figures have come to the progress and to the metrics.
func (t *trainer) tell(m Metrics) error {
	t.bar.Add(int64(t.Recipe.Train.Batch))
	t.bar.Status(fmt.Sprintf("step %d/%d  loss %.4f", t.done, t.schedule.Total, m.Loss))
	t.summary.Steps, t.summary.Loss = t.done, m.Loss
	t.summary.ImagesSec = float64((t.done-t.first)*t.Recipe.Train.Batch) / time.Since(t.started).Seconds()
	if err := t.metrics.write(m); err != nil {
		return fmt.Errorf("%w; make room and continue with --resume", err)
	}
	return t.checkFinite(m)
}

// stop ends a run early, for a signal or because data could not be read: with the figures and a checkpoint of what was done.
func (t *trainer) stop(ctx context.Context, feed *Feed, reason error) error {
	if err := t.settle(feed); err != nil {
		return err
	}
	if ctx.Err() != nil {
		reason = fmt.Errorf("stopped by a signal after step %d of %d", t.done, t.schedule.Total)
	}
	return t.saveAnd(reason)
}

// failed names the checkpoint that a run whose device failed goes on from.
func (t *trainer) failed(err error) error {
	if t.saved == 0 {
		return fmt.Errorf("step %d: %w; no checkpoint was written yet", t.done+1, err)
	}
	newest := filepath.Join(t.Run, checkpointDir, fmt.Sprintf(checkpointName, t.saved))
	return fmt.Errorf("step %d: %w; the newest checkpoint is %s: --resume continues from it", t.done+1, err, newest)
}

// dataError is a failure to load: the run can be continued when it is mended.
type dataError struct{ error }

func (e *dataError) Unwrap() error { return e.error }

// step issues the next step, and settles the one before it when the device has something to do meanwhile, or when there are no data to
// give it. Between two of its micro-batches it may be given up: nothing has changed but gradients then.
func (t *trainer) step(ctx context.Context, feed *Feed) error {
	t.model.BeginStep()
	for range t.micros {
		if !feed.Ready() {
			if err := t.settle(feed); err != nil {
				return err
			}
		}
		b, err := feed.Next(ctx) // fails once ctx has ended
		if err != nil {
			return &dataError{err}
		}
		t.model.Upload(b)
		t.model.MicroStep()
		if err := t.settle(feed); err != nil {
			return err
		}
	}
	t.model.EndStep(t.optimizer, t.schedule.At(t.issued), t.Recipe.Optimizer.WeightDecay)
	t.figures = t.model.Figures()
	t.issued++
	return nil
}

// settle waits for the figures of the step under way, if there is one, and books them.
func (t *trainer) settle(feed *Feed) error {
	if t.figures == nil {
		return nil
	}
	r, err := t.figures()
	if t.figures = nil; err != nil {
		return t.failed(err)
	}
	took, waited := time.Since(t.settled).Seconds(), feed.Waited-t.waited
	t.settled, t.waited = time.Now(), feed.Waited
	t.done++
	return t.book(Metrics{Step: t.done, Epoch: float64(t.done) / float64(t.perEpoch), Loss: r.Loss, LR: t.schedule.At(t.done - 1), Norm: r.Norm,
		Skipped: r.Skipped, ImagesSec: float64(t.Recipe.Train.Batch) / took, DataWait: waited.Seconds() / took})
}

// checkFinite ends a run that has stopped learning.
func (t *trainer) checkFinite(m Metrics) error {
	if m.Norm-m.Norm == 0 { // finite
		t.skipped = m.Skipped
		return nil
	}
	t.Log.Warn("step skipped: its gradient is not finite", "step", m.Step, "skipped", m.Skipped)
	if m.Skipped-t.skipped < maxNonFinite {
		return nil
	}
	return fmt.Errorf("%d steps in a row, to step %d, had a gradient that is not finite: start another run with a lower optimizer.lr, "+
		"a longer optimizer.warmup_epochs or train.dtype = \"f32\"", maxNonFinite, m.Step)
}

func (t *trainer) milestone(step int) bool {
	return t.Milestones > 0 && step > 0 && step%(t.perEpoch*t.Milestones) == 0
}

// save writes a checkpoint of the steps done, after the metrics that belong to them, and removes old ones.
func (t *trainer) save() error {
	if t.done == t.saved {
		return nil
	}
	start := time.Now()
	if err := t.metrics.sync(); err != nil {
		return fmt.Errorf("%w; make room and continue with --resume", err)
	}
	c := Checkpoint{Step: t.done, Epoch: float64(t.done) / float64(t.perEpoch), Milestone: t.milestone(t.done), ProducerID: t.store.Manifest().ProducerID,
		TargetDim: t.model.TargetDim, Recipe: t.Recipe, Device: describe(t.dev)}
	dir, err := save(t.Run, t.model, c)
	if err != nil {
		return fmt.Errorf("%w; earlier checkpoints are untouched: make room and continue with --resume", err)
	}
	t.saved, t.savedAt, t.settled, t.summary.Checkpoint = t.done, time.Now(), time.Now(), dir
	t.Log.Info("checkpoint", "folder", dir, "took", time.Since(start).Round(time.Millisecond))
	return prune(t.Run, t.Keep)
}

// saveAnd saves and returns why the run ends, with what to do.
func (t *trainer) saveAnd(reason error) error {
	if t.done == 0 {
		return fmt.Errorf("%w; nothing was trained yet", reason)
	}
	if err := t.save(); err != nil {
		return fmt.Errorf("%w; and then: %w", reason, err)
	}
	return fmt.Errorf("%w; --resume continues from step %d", reason, t.done)
}

// describe names the arithmetic that the last bits depend on.
func describe(dev blas.Device) string {
	i := dev.Info()
	return fmt.Sprintf("%s %v, %d threads", i.Name, i.Paths, i.Threads)
}
