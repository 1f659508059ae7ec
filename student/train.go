package student

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"mvptargets/blas"
	"mvptargets/internal/atomicfile"
	"mvptargets/internal/progress"
	"mvptargets/shards"
)

// Job is one training run.
type Job struct {
	Recipe   Recipe
	Targets  string // the target store
	Images   string // what the store was made from
	Run      string // the folder that receives recipe, metrics and checkpoints
	Resume   bool   // continue from the newest checkpoint of Run, if there is one
	Log      *slog.Logger
	Terminal *os.File
}

// checkpointsPerRun is how many checkpoints a run writes, evenly spread; the last is at its end.
const checkpointsPerRun = 10

// Train runs the job on dev from its first step, or its newest checkpoint, to the last. When ctx ends, it writes a checkpoint
// and returns ctx's error.
func Train(ctx context.Context, dev blas.Device, j Job) error {
	store, err := shards.Open(j.Targets)
	if err != nil {
		return err
	}
	loader, err := NewLoader(j.Recipe, store, j.Images)
	if err != nil {
		return err
	}
	producer := store.Manifest().ProducerID
	j.Log.Info("targets", "producer", producer, "rows", loader.index.Rows, "features", store.Manifest().Producer.Features)

	r := j.Recipe
	compute, err := blas.ParseDType(r.Train.DType)
	if err != nil {
		return err
	}
	micros := r.Train.Batch / r.Train.MicroBatch
	m := NewModel(dev, r.Config(store.Manifest().Dim), Options{Compute: compute, Batch: r.Train.MicroBatch, LossRows: r.Mask.Count,
		DropPath: r.Model.DropPath > 0, Loss: Loss{Kind: r.Loss.Kind, Beta: r.Loss.Beta}, MicroN: micros}, r.Train.Seed)
	defer m.Close()
	first, err := j.begin(m, producer)
	if err != nil {
		return err
	}
	metrics, err := openMetrics(j.Run, first)
	if err != nil {
		return err
	}
	defer metrics.close()

	m.Refresh()
	perEpoch := loader.StepsPerEpoch()
	schedule := r.Schedule(perEpoch)
	every := max(1, schedule.Total/checkpointsPerRun)
	o := Optimizer{Beta1: r.Optimizer.Betas[0], Beta2: r.Optimizer.Betas[1], Eps: r.Optimizer.Eps, MaxNorm: r.Optimizer.ClipNorm}
	bar := progress.New(j.Log, j.Terminal, "train", int64((schedule.Total-first)*r.Train.Batch))
	defer bar.Done()
	var batch Batch
	for step := first; step < schedule.Total; step++ {
		start := time.Now()
		m.BeginStep()
		for micro := range micros {
			if err := loader.Load(&batch, step, micro); err != nil {
				return err
			}
			m.Upload(&batch)
			m.MicroStep()
		}
		lr := schedule.At(step)
		m.EndStep(o, lr, r.Optimizer.WeightDecay)
		result, err := m.Result()
		if err != nil {
			return err
		}
		bar.Add(int64(r.Train.Batch))
		bar.Status(fmt.Sprintf("loss %.4f", result.Loss))
		if err := metrics.write(Metrics{Step: step + 1, Epoch: float64(step+1) / float64(perEpoch), Loss: result.Loss, LR: lr,
			Norm: result.Norm, Skipped: result.Skipped, ImagesSec: float64(r.Train.Batch) / time.Since(start).Seconds()}); err != nil {
			return err
		}
		stopped := ctx.Err() != nil
		if done := step + 1; done == schedule.Total || done%every == 0 || stopped {
			if err := save(j.Run, m, Checkpoint{Step: done, Epoch: float64(done) / float64(perEpoch), ProducerID: producer, TargetDim: m.TargetDim, Recipe: r}); err != nil {
				return err
			}
		}
		if stopped {
			return ctx.Err()
		}
	}
	return nil
}

// begin prepares the run's folder and returns the first step to do.
func (j Job) begin(m *Model, producer string) (int, error) {
	if err := os.MkdirAll(filepath.Join(j.Run, checkpointDir), 0o755); err != nil {
		return 0, fmt.Errorf("start run: %w", err)
	}
	all, err := checkpoints(j.Run)
	if err != nil {
		return 0, fmt.Errorf("start run: %w", err)
	}
	if len(all) == 0 {
		return 0, j.Recipe.Write(j.Run)
	}
	newest := all[len(all)-1]
	if !j.Resume {
		return 0, fmt.Errorf("run %s already has a checkpoint, %s: continue it with --resume, or choose another --out", j.Run, filepath.Base(newest))
	}
	c, err := readCheckpoint(newest)
	if err != nil {
		return 0, err
	}
	if c.ProducerID != producer {
		return 0, fmt.Errorf("run %s was trained on targets of producer %.12s, %s has %.12s: give the store that it began with", j.Run, c.ProducerID, j.Targets, producer)
	}
	if c.Recipe != j.Recipe {
		return 0, fmt.Errorf("run %s was begun with another recipe: give its own, %s", j.Run, filepath.Join(j.Run, "recipe.toml"))
	}
	return c.Step, c.resume(m)
}

// metricsFiles are RUN/metrics.jsonl and the TensorBoard event file of this process.
type metricsFiles struct {
	lines, file *os.File
	events      *EventWriter
}

// openMetrics cuts metrics.jsonl back to the steps done and starts an event file.
func openMetrics(run string, steps int) (*metricsFiles, error) {
	path := filepath.Join(run, "metrics.jsonl")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := atomicfile.Write(path, trimMetrics(old, steps), 0o644); err != nil {
		return nil, err
	}
	f := &metricsFiles{}
	if f.lines, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return nil, err
	}
	now := time.Now()
	if f.file, err = os.Create(filepath.Join(run, fmt.Sprintf("events.out.tfevents.%d.%d", now.Unix(), os.Getpid()))); err != nil {
		return nil, err
	}
	f.events, err = NewEventWriter(f.file, now)
	return f, err
}

func (f *metricsFiles) write(m Metrics) error {
	if err := appendLine(f.lines, m); err != nil {
		return err
	}
	return f.events.Write(m, time.Now())
}

func (f *metricsFiles) close() {
	f.lines.Close()
	f.file.Close()
}
