package extract

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"mvptargets/extract/teacher"
	"mvptargets/internal/progress"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

const (
	batchesInFlight = 3               // one being filled, one in the model, one being written
	stopGrace       = 5 * time.Second // how long a stopped job waits for the batch in the model
)

// pipeline is images -> batches -> model -> writer: loader workers on all cores, one goroutine that fills batches, one for
// the model, and the caller's for the writer, with bounded queues between them and every large buffer used again.
type pipeline struct {
	load    *loader
	session *teacher.Session
	writer  *shards.Writer
	meter   *meter
	bar     *progress.Bar
	written func(views int64)

	free, full, computed chan *batch // each has room for all batches
	ended                bool        // compute is through; belongs to the goroutine that writes
	counts               counts
}

// counts is what a pipeline did. It belongs to the goroutine that writes.
type counts struct {
	views, reused, rejected int64
	lastReject              string
	cosine                  float64 // least of a patch as stored to the teacher's
}

// batch is a teacher's batch with what its rows are.
type batch struct {
	*teacher.Batch
	rows   []row
	events []event // what happened to images since the batch before, to be recorded in order
}

type row struct {
	key         string
	label       int32
	w, h        int32 // of the image, in pixels
	size, mtime int64
	image       [32]byte
	view        view.View
}

// event is an image of which nothing, or not everything, is computed.
type event struct {
	key    string
	reject string
	views  int // of them none will come
}

func newPipeline(l *loader, s *teacher.Session, w *shards.Writer, m *meter, bar *progress.Bar, written func(int64)) (*pipeline, error) {
	p := &pipeline{load: l, session: s, writer: w, meter: m, bar: bar, written: written,
		counts: counts{cosine: 1}, free: make(chan *batch, batchesInFlight), full: make(chan *batch, batchesInFlight), computed: make(chan *batch, batchesInFlight)}
	for range batchesInFlight {
		b, err := s.NewBatch()
		if err != nil {
			return nil, err
		}
		p.free <- &batch{Batch: b}
	}
	return p, nil
}

// run works through tasks. It ends early, without error, when ctx does; what was computed until then is written.
func (p *pipeline) run(ctx context.Context, tasks []task, workers int, fail func(error)) error {
	window := 2*workers + (batchesInFlight*p.session.Batch)/max(1, viewsPerTask(tasks))
	images := p.load.run(ctx, tasks, workers, window)
	go p.fill(ctx, images)
	go p.compute(ctx, fail)
	return p.write(ctx)
}

// release frees the batches, if the model is surely done with them.
func (p *pipeline) release() bool {
	if !p.ended {
		return false
	}
	for {
		select {
		case b := <-p.free:
			b.Free()
		default:
			return true
		}
	}
}

func viewsPerTask(tasks []task) int {
	most := 0
	for i := range tasks {
		most = max(most, len(tasks[i].views))
	}
	return most
}

// fill packs views into batches without holes, in the order of the images.
func (p *pipeline) fill(ctx context.Context, images <-chan *loaded) {
	defer close(p.full)
	c := p.meter.clock()
	b := p.take(ctx, &c)
	for j := range images {
		<-j.done
		c.charge(waitPixels)
		if ctx.Err() != nil || b == nil {
			continue // the loader ends by itself
		}
		if j.reject != "" || j.reused > 0 {
			b.events = append(b.events, event{j.key, j.reject, len(j.task.views) - j.kept()})
		}
		for i := 0; i < j.kept() && b != nil; i++ {
			b.SetPixels(len(b.rows), j.pixels[i])
			b.rows = append(b.rows, row{j.key, j.label, j.w, j.h, j.size, j.mtime, j.image, j.views[i]})
			c.charge(stageFill)
			if len(b.rows) == p.session.Batch {
				p.full <- b
				b = p.take(ctx, &c)
			}
		}
		p.load.release(j)
	}
	if b != nil {
		p.full <- b
	}
}

// kept counts the views that will be computed: none of a rejected image.
func (j *loaded) kept() int {
	if j.reject != "" {
		return 0
	}
	return len(j.pixels)
}

func (p *pipeline) take(ctx context.Context, c *clock) *batch {
	defer c.charge(waitModel)
	select {
	case b := <-p.free:
		b.rows, b.events = b.rows[:0], b.events[:0]
		return b
	case <-ctx.Done():
		return nil
	}
}

// compute runs the model, from one OS thread: math libraries keep a team of threads for each thread that calls them. Once the
// job is stopped, batches pass by unused.
func (p *pipeline) compute(ctx context.Context, fail func(error)) {
	runtime.LockOSThread()
	defer close(p.computed)
	c := p.meter.clock()
	for b := range p.full {
		c.charge(waitBatch)
		if ctx.Err() != nil {
			p.free <- b
			continue
		}
		if len(b.rows) > 0 {
			if err := p.session.Run(b.Batch); err != nil {
				fail(err)
				p.free <- b
				continue
			}
		}
		c.charge(stageModel)
		p.computed <- b
	}
}

// write encodes and appends the rows of computed batches until there are no more. Once ctx has ended it waits for the batch
// in the model only so long.
func (p *pipeline) write(ctx context.Context) error {
	c := p.meter.clock()
	var out shards.Row
	stopped, late := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case b, ok := <-p.computed:
			c.charge(waitWriter)
			if !ok {
				p.ended = true
				return nil
			}
			if err := p.writeBatch(b, &out, &c); err != nil {
				return err
			}
			p.free <- b
			if p.written != nil {
				p.written(p.counts.views)
			}
		case <-stopped:
			stopped, late = nil, time.After(stopGrace)
		case <-late:
			return nil
		}
	}
}

func (p *pipeline) writeBatch(b *batch, out *shards.Row, c *clock) error {
	for _, e := range b.events {
		if err := p.record(e); err != nil {
			return err
		}
	}
	for i := range b.rows {
		r := &b.rows[i]
		finite := p.encode(out, b, i)
		c.charge(stageEncode)
		if !finite {
			e := event{r.key, fmt.Sprintf("view %d: a feature is not finite in float16", r.view.Index), 1}
			if err := p.record(e); err != nil {
				return err
			}
			continue
		}
		if err := p.writer.Append(out); err != nil {
			return err
		}
		c.charge(stageWrite)
		p.counts.views++
		p.bar.Add(1)
	}
	return nil
}

// encode fills out from row i of a batch, and says whether all its numbers are finite.
func (p *pipeline) encode(out *shards.Row, b *batch, i int) bool {
	r := &b.rows[i]
	out.Identity = shards.Identity{Key: r.key, Image: r.image, View: r.view.Index}
	out.View, out.Label, out.Width, out.Height, out.FileSize, out.MTime = r.view, r.label, r.w, r.h, r.size, r.mtime
	done := p.writer.Encode(out, b.Patches(i), b.CLS(i))
	if done.Finite {
		p.counts.cosine = min(p.counts.cosine, done.Cosine)
	}
	return done.Finite
}

// record counts an image that is not computed, and writes down why if it was rejected.
func (p *pipeline) record(e event) error {
	p.bar.Add(int64(e.views))
	if e.reject == "" {
		p.counts.reused += int64(e.views)
		return nil
	}
	if p.counts.lastReject != e.key { // views of an image come one after the other
		p.counts.lastReject = e.key
		p.counts.rejected++
		p.bar.Status(fmt.Sprintf("%d rejected", p.counts.rejected))
	}
	return p.writer.Reject(e.key, e.reject)
}
