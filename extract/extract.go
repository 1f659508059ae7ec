// Package extract is stage one: it runs a teacher once over a set of images and writes one feature vector per patch into a
// target store.
//
// Work is data: the images of the source are put into the order of a hash of their keys, those whose views are in the
// store already are left out, and the rest goes through one pipeline of loader, model and writer. Order, batch size and
// number of workers have no influence on a row.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/term"

	"mvptargets/extract/teacher"
	"mvptargets/internal/progress"
	"mvptargets/internal/source"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

// Config says what to compute.
type Config struct {
	Model    string // ONNX file
	Set      teacher.Settings
	Images   string // source
	Store    string // folder, created if absent
	Features string // what teacher.Model.Feature takes
	Views    int    // views per image
	Policy   view.Policy

	Provider  string // teacher.Auto or one of teacher.Providers
	Precision string
	Encoding  string // one of shards.Encodings, "" for the first
	Batch     int
	GPU       teacher.GPU
	Threads   int // of the model, 0: one per core
	Loaders   int // goroutines that read, decode and render, 0: one per core
	Part      Part
	Rehash    bool // read every file again instead of trusting (key, size, mtime)

	ShardBytes int64 // size that a shard is published at, 0: the store's default

	// MaxRejectFraction is the share of images that may be unusable before Run, its work done, gives ErrRejects.
	MaxRejectFraction float64

	Log      *slog.Logger
	Terminal *os.File          // for the progress bar
	Written  func(views int64) `json:"-"` // if not nil, told after each batch how many views are written
}

// ErrRejects says that more images than allowed could not be used; everything else is in the store.
var ErrRejects = errors.New("too many images were rejected")

// Summary is what a run did.
type Summary struct {
	Images   int64   // of this part
	Views    int64   // computed
	Reused   int64   // views that the store had already
	Rejected int64   // images
	Seconds  float64 // that the pipeline ran
	Store    string
	// Cosine is the least of a patch as it was stored to the teacher's, in a store of int8; 1 in one of float16.
	Cosine float64
	// RowBytes is what a view takes on disk, files of all kinds, over the whole store; 0 where it is not known.
	RowBytes float64
	Stages   map[string]float64 // seconds per stage, over all workers
}

// String is the summary in one line.
func (s Summary) String() string {
	text := fmt.Sprintf("%d images: %d views computed, %d reused, %d images rejected", s.Images, s.Views, s.Reused, s.Rejected)
	if s.Views > 0 {
		text += fmt.Sprintf("; %.4g views/s", float64(s.Views)/s.Seconds)
	}
	if s.Views > 0 && s.Cosine < 1 {
		text += fmt.Sprintf("; least cosine of an int8 patch to the teacher's %.6f", s.Cosine)
	}
	if s.RowBytes > 0 {
		text += fmt.Sprintf("; %.0f bytes per image-view", s.RowBytes)
	}
	return text + "; store " + s.Store
}

// Run brings the store up to date with the source. When ctx ends, the shard in flight is published with what it holds and
// ctx's error is returned.
func Run(ctx context.Context, c Config) (Summary, error) {
	r := &run{Config: c, sum: Summary{Store: c.Store}}
	defer r.close()
	err := r.prepare(ctx)
	if err == nil && len(r.tasks) > 0 {
		err = r.compute(ctx)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w; what was published stays: make room and run the same command again", err)
	}
	if r.store != nil {
		r.sum.RowBytes = rowBytes(r.store)
	}
	if err == nil {
		err = r.checkRejects()
	}
	return r.sum, err
}

// run is the state of one Run.
type run struct {
	Config
	sum     Summary
	from    source.Source
	decoder view.Decoder
	model   *teacher.Model
	feature teacher.Feature
	session *teacher.Session // opened only if there is work, or to learn the layout
	library string           // what runs the session: version and provider, for the shards' record
	store   *shards.Store
	lease   *shards.Lease
	index   *shards.Index
	found   int64 // images of the source, all parts
	tasks   []task
	running bool // the model may still be at work, after a stop that did not wait for it
}

func (r *run) close() {
	r.releaseLease()
	if r.model != nil {
		r.model.Close()
	}
	if r.session != nil && !r.running {
		r.session.Close()
	}
}

// prepare does everything that can fail before the first image is read.
func (r *run) prepare(ctx context.Context) error {
	tasks, err := r.find(ctx)
	if err != nil {
		return err
	}
	m, _, err := r.manifest(ctx)
	if err != nil {
		return err
	}
	if r.store, err = shards.Create(r.Store, m); err != nil {
		return err
	}
	if err := r.hold(ctx); err != nil {
		return err
	}
	if r.index, err = r.store.Index(); err != nil {
		return err
	}
	r.tasks = r.reuse(tasks)
	r.Log.Info("planned", "images", r.sum.Images, "to_compute", len(r.tasks), "views_reused", r.sum.Reused, "part", r.Part.String())
	return nil
}

// find opens source and model and lists the part's images.
func (r *run) find(ctx context.Context) (tasks []task, err error) {
	if r.from, err = source.Open(r.Images); err != nil {
		return nil, err
	}
	if r.model, err = teacher.Read(r.Model, r.Set); err != nil {
		return nil, err
	}
	if r.Policy.Name == view.Center {
		r.Policy.ShortEdge, r.Policy.Stretch = r.model.Short, r.model.Stretch
	}
	if r.feature, err = r.model.Feature(r.Features); err != nil {
		return nil, err
	}
	r.decoder = view.NewDecoder()
	return r.scan(ctx)
}

// compute runs the pipeline over the tasks and publishes what it gave.
func (r *run) compute(ctx context.Context) error {
	if err := r.openSession(ctx); err != nil {
		return err
	}
	var m meter
	writer, err := r.store.Writer(shards.WriterOptions{Library: r.library, ShardBytes: r.ShardBytes,
		Compressed: func(d time.Duration) { m[stageCompress].Add(int64(d)) }})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if r.lease != nil { // not in a store of one's own
		go r.watchLease(ctx, cancel)
	}
	views := 0
	for i := range r.tasks {
		views += len(r.tasks[i].views)
	}
	bar := progress.New(r.Log, r.Terminal, "extract", int64(views))
	defer bar.Done()
	if r.Terminal == nil || !term.IsTerminal(int(r.Terminal.Fd())) {
		defer m.logEvery(r.Log, logEvery)()
	}
	l := &loader{from: r.from, decoder: r.decoder, policy: r.Policy, size: r.session.Size(), index: r.index, meter: &m, fail: cancel}
	p, err := newPipeline(l, r.session, writer, &m, bar, r.Written)
	if err != nil {
		writer.Abort()
		return err
	}
	loaders := r.Loaders
	if loaders <= 0 {
		loaders = runtime.NumCPU()
	}
	// Loading is calls into C of a fraction of a millisecond. Where all of Go's processors are taken, the runtime wakes threads for each such call,
	// which spin on the cores that the work needs; it does not while some are free.
	if procs := runtime.GOMAXPROCS(0); procs > 1 {
		runtime.GOMAXPROCS(procs + 2)
		defer runtime.GOMAXPROCS(procs)
	}
	started := time.Now()
	err = p.run(ctx, r.tasks, loaders, cancel)
	r.running = !p.release()
	if err != nil {
		writer.Abort()
	} else {
		err = writer.Close()
	}
	r.sum.Seconds = time.Since(started).Seconds()
	bar.Done()
	r.sum.Views, r.sum.Rejected, r.sum.Cosine = p.counts.views, p.counts.rejected, p.counts.cosine
	r.sum.Reused += p.counts.reused
	r.sum.Stages = m.times()
	m.log(r.Log, "stages")
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func (r *run) checkRejects() error {
	if r.sum.Images == 0 || float64(r.sum.Rejected) <= r.MaxRejectFraction*float64(r.sum.Images) {
		return nil
	}
	return fmt.Errorf("%w: %d of %d, over --max-reject-fraction %g; their reasons are in %s/rejects, all others are in the store",
		ErrRejects, r.sum.Rejected, r.sum.Images, r.MaxRejectFraction, r.Store)
}

// rowBytes divides the size of a store's files by its rows.
func rowBytes(s *shards.Store) float64 {
	index, err := s.Index()
	if err != nil || index.Rows == 0 {
		return 0
	}
	total := int64(0)
	filepath.WalkDir(s.Dir(), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return float64(total) / float64(index.Rows)
}
