package extract

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"mvptargets/internal/source"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

// task is an image with views to compute.
type task struct {
	key         string
	label       int32
	size, mtime int64
	run         int // of the source's, see source.Item
	order       uint64
	views       []uint16 // indices still to compute
	err         error    // why it cannot be read, known since the scan
}

// loaded is a task on its way from the file to the batch. The worker that loads it closes done.
type loaded struct {
	task
	image  [32]byte
	w, h   int32       // its size in pixels
	views  []view.View // drawn, one per element of pixels
	pixels [][]uint8   // [size, size, 3] each, from the loader's pool
	reused int         // views that turned out to be in the store once the bytes were known
	reject string      // why the image cannot be used, "" if it can
	done   chan struct{}
}

// loader reads, decodes and renders on all cores. What it is given comes out in the same order.
type loader struct {
	from    source.Source
	decoder view.Decoder
	policy  view.Policy
	size    int
	index   *shards.Index
	meter   *meter
	fail    func(error) // ends the job

	pool sync.Pool // *[]uint8, one view's pixels
}

// run starts workers over tasks, with at most window images in flight, and gives them in order. The channel is closed after
// the last one, or soon after ctx ends.
func (l *loader) run(ctx context.Context, tasks []task, workers, window int) <-chan *loaded {
	jobs, order := make(chan *loaded, window), make(chan *loaded, window)
	go func() {
		defer close(jobs)
		defer close(order)
		for i := range tasks {
			if i == 0 || tasks[i].run != tasks[i-1].run {
				l.ahead(ctx, tasks[i:])
			}
			j := &loaded{task: tasks[i], done: make(chan struct{})}
			select {
			case order <- j:
				jobs <- j
			case <-ctx.Done():
				return
			}
		}
	}()
	for range workers {
		go func() {
			var buf []byte
			c := l.meter.clock()
			for j := range jobs {
				c.charge(waitSource)
				if ctx.Err() == nil {
					buf = l.load(&c, j, buf)
				}
				close(j.done)
			}
		}()
	}
	return order
}

// ahead lets a source with runs read the one that tasks begin with.
func (l *loader) ahead(ctx context.Context, tasks []task) {
	from, ok := l.from.(source.Ahead)
	if !ok {
		return
	}
	wanted := int64(0)
	for i := range tasks {
		if tasks[i].run != tasks[0].run {
			break
		}
		wanted += tasks[i].size
	}
	go from.ReadAhead(ctx, tasks[0].run, wanted)
}

// load does one image; buf is the worker's file buffer.
func (l *loader) load(c *clock, j *loaded, buf []byte) []byte {
	if j.err != nil {
		j.reject = j.err.Error()
		return buf
	}
	buf, err := l.from.Read(buf, j.key)
	if err != nil {
		j.reject = err.Error()
		if gone := l.from.Check(); gone != nil {
			l.fail(gone)
		}
		return buf
	}
	j.image = sha256.Sum256(buf)
	wanted := l.missing(j)
	c.charge(stageRead)
	if len(wanted) == 0 {
		return buf
	}
	img, err := l.decoder.Decode(buf)
	c.charge(stageDecode)
	if err != nil {
		j.reject = err.Error()
		return buf
	}
	defer img.Release()
	j.w, j.h = int32(img.W), int32(img.H)
	for _, v := range wanted {
		drawn := l.policy.View(j.image, v, img.W, img.H)
		pixels := l.pixels()
		if err := l.policy.Render(pixels, img, drawn, l.size); err != nil {
			j.reject = fmt.Sprintf("view %d: %v", v, err)
			return buf
		}
		j.views, j.pixels = append(j.views, drawn), append(j.pixels, pixels)
	}
	c.charge(stageView)
	return buf
}

// missing leaves out the views that are in the store under this key and these bytes, although size or time differ.
func (l *loader) missing(j *loaded) []uint16 {
	var views []uint16
	for _, v := range j.task.views {
		if l.index.Has(shards.Identity{Key: j.key, Image: j.image, View: v}) {
			j.reused++
		} else {
			views = append(views, v)
		}
	}
	return views
}

func (l *loader) pixels() []uint8 {
	if p, ok := l.pool.Get().(*[]uint8); ok {
		return *p
	}
	return make([]uint8, 3*l.size*l.size)
}

// release takes an image's pixels back.
func (l *loader) release(j *loaded) {
	for i := range j.pixels {
		l.pool.Put(&j.pixels[i])
	}
	j.pixels = nil
}
