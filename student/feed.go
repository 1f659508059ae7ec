package student

import (
	"context"
	"time"
)

// feedAhead is how many micro-batches are loaded before the trainer asks for them. One is enough to overlap loading and computing; two
// ride over an image that takes long.
const feedAhead = 2

// Feed loads micro-batches in the background, ahead of the trainer and in its order. What it gives is what Loader.Load gives.
type Feed struct {
	ready chan fed
	free  chan *Batch
	stop  context.CancelFunc
	last  *Batch // what Next gave, the trainer's until the next call

	Waited time.Duration // that Next had to wait, in all; the trainer's
}

type fed struct {
	b   *Batch
	err error
}

// Feed starts loading the micro-batches of the steps from first to last (exclusive). The loader belongs to the feed until Close.
func (l *Loader) Feed(first, last int) *Feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Feed{ready: make(chan fed, feedAhead), free: make(chan *Batch, feedAhead+2), stop: cancel}
	for range cap(f.free) {
		f.free <- &Batch{}
	}
	go func() {
		defer close(f.ready)
		micros := l.recipe.Train.Batch / l.recipe.Train.MicroBatch
		for i := first * micros; i < last*micros; i++ {
			var b *Batch
			select {
			case b = <-f.free:
			case <-ctx.Done():
				return
			}
			err := l.Load(b, i/micros, i%micros)
			select {
			case f.ready <- fed{b, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return f
}

// Ready says whether Next would give a micro-batch at once.
func (f *Feed) Ready() bool { return len(f.ready) > 0 }

// Next gives the next micro-batch, which stays as it is until the call after. It fails where Load did, and there is nothing after that; and
// it fails once ctx has ended.
func (f *Feed) Next(ctx context.Context) (*Batch, error) {
	if f.last != nil {
		f.free <- f.last
		f.last = nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	start := time.Now()
	defer func() { f.Waited += time.Since(start) }()
	select {
	case x, ok := <-f.ready:
		if !ok {
			panic("student: a feed was asked for more steps than it was made for")
		}
		if x.err != nil {
			return nil, x.err
		}
		f.last = x.b
		return x.b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close stops loading and waits until nothing is loaded any more.
func (f *Feed) Close() {
	f.stop()
	for range f.ready {
	}
}
