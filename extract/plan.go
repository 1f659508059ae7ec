package extract

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"mvptargets/shards"
)

// Plan says what Run would do.
type Plan struct {
	Part     Part
	Found    int64 // images of the source
	Images   int64 // of them in this part
	Bad      int64 // of those, that cannot be read, as far as looking at their names and sizes shows
	Views    int64 // to compute
	Reused   int64 // views that the store has
	RowBytes int64 // of one view, before compression
	Sizes    []EncodedSize
	Rate     float64 // views per second of the whole pipeline, on Sample views; 0 where there is nothing to do
	Sample   int64
}

// EncodedSize is what a view takes on disk in one encoding, files of all kinds, and what the encoding leaves of it, as found on the sample.
type EncodedSize struct {
	Encoding string
	PerView  float64 // bytes
	Cosine   float64 // as Summary's
}

// The sample is as long as it takes to fill planSeconds at the rate of its first batches, but its features take no more than
// planBytes.
const (
	planSeconds = 10
	planBytes   = 1 << 30
	planViews   = 128 // for the size in encodings that were not asked for
)

// MakePlan finds out what Run would do without touching the store: a sample of the images, the first in the order of work, goes
// through the whole pipeline into a folder of its own below $TMPDIR, which is removed.
func MakePlan(ctx context.Context, c Config) (Plan, error) {
	p := Plan{Part: c.Part}
	r := &run{Config: c}
	defer r.close()
	tasks, err := r.find(ctx)
	if err != nil {
		return p, err
	}
	p.Found, p.Images = r.found, r.sum.Images
	for i := range tasks {
		if tasks[i].err != nil {
			p.Bad++
		}
	}
	m, store, err := r.manifest(ctx)
	if err != nil {
		return p, err
	}
	p.RowBytes = m.RowBytes()
	if store != nil {
		if r.index, err = store.Index(); err != nil {
			return p, err
		}
	} else {
		r.index = &shards.Index{}
	}
	tasks = r.reuse(tasks)
	p.Reused = r.sum.Reused
	good := tasks[:0]
	for _, t := range tasks {
		if t.err == nil {
			good = append(good, t)
			p.Views += int64(len(t.views))
		}
	}
	if len(good) > 0 {
		err = r.measure(ctx, &p, m, good)
	}
	return p, err
}

// measure runs the pipeline twice on the first tasks: on two batches, which take what only the first take, then on the sample.
func (r *run) measure(ctx context.Context, p *Plan, m shards.Manifest, tasks []task) error {
	r.Log.Info("measuring the rate", "seconds", planSeconds)
	most := max(1, planBytes/m.RowBytes())
	warm, err := r.trial(ctx, m, firstViews(tasks, int64(2*r.Batch)))
	if err != nil {
		return err
	}
	rate := float64(warm.Views) / warm.Seconds
	s, err := r.trial(ctx, m, firstViews(tasks, min(most, max(int64(4*r.Batch), int64(planSeconds*rate)))))
	if err != nil {
		return err
	}
	if s.Views == 0 {
		return fmt.Errorf("not one of the %d images of the sample could be used; the first ones begin with %s", s.Rejected, tasks[0].key)
	}
	p.Rate, p.Sample = float64(s.Views)/s.Seconds, s.Views
	p.Sizes = []EncodedSize{{m.Producer.Encoding, s.RowBytes, s.Cosine}}
	for _, encoding := range shards.Encodings() {
		if encoding == m.Producer.Encoding {
			continue
		}
		other := m
		other.Producer.Encoding = encoding
		if s, err = r.trial(ctx, other, firstViews(tasks, min(s.Views, planViews))); err != nil {
			return err
		}
		p.Sizes = append(p.Sizes, EncodedSize{encoding, s.RowBytes, s.Cosine})
	}
	return nil
}

// firstViews takes tasks until they have n views.
func firstViews(tasks []task, n int64) []task {
	for i := range tasks {
		if n -= int64(len(tasks[i].views)); n <= 0 {
			return tasks[:i+1]
		}
	}
	return tasks
}

// trial runs tasks into a store that is removed again.
func (r *run) trial(ctx context.Context, m shards.Manifest, tasks []task) (Summary, error) {
	dir, err := os.MkdirTemp("", "mvp-extract-plan-")
	if err != nil {
		return Summary{}, fmt.Errorf("plan: %w; set TMPDIR to a folder with room for the sample", err)
	}
	defer os.RemoveAll(dir)
	t := *r
	t.Log, t.Terminal, t.tasks, t.sum, t.index = slog.New(slog.DiscardHandler), nil, tasks, Summary{Store: dir}, &shards.Index{}
	if t.store, err = shards.Create(dir, m); err != nil {
		return t.sum, err
	}
	err = t.compute(ctx)
	r.session, r.library, r.running = t.session, t.library, t.running
	t.sum.RowBytes = rowBytes(t.store)
	return t.sum, err
}

// String is the plan as a table.
func (p Plan) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s"+format+"\n", append([]any{name}, args...)...)
	}
	line("images", "%d found; %d in part %v", p.Found, p.Images, p.Part)
	if p.Bad > 0 {
		line("rejects", "%d images cannot be read; damage inside the others shows when they are decoded", p.Bad)
	}
	line("views", "%d to compute, %d reused", p.Views, p.Reused)
	if p.Views == 0 {
		return b.String()
	}
	line("bytes", "%s as %d per view, uncompressed", byteCount(float64(p.RowBytes*p.Views)), p.RowBytes)
	for _, s := range p.Sizes {
		left := ""
		if s.Cosine < 1 {
			left = fmt.Sprintf("; least cosine of a patch to the teacher's %.6f", s.Cosine)
		}
		line("store, "+s.Encoding, "%s as %.0f per view%s", byteCount(s.PerView*float64(p.Views)), s.PerView, left)
	}
	line("rate", "%.4g views/s, measured on %d", p.Rate, p.Sample)
	line("time", "%s with this worker", hours(float64(p.Views)/p.Rate))
	return b.String()
}

// byteCount writes a number of bytes with a decimal unit, as disks are sold.
func byteCount(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n, i = n/1000, i+1
	}
	return fmt.Sprintf("%.3g %s", n, units[i])
}

// hours writes seconds as hours, or as a duration if they are few.
func hours(seconds float64) string {
	if seconds < 3600 {
		return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
	}
	return fmt.Sprintf("%.1f hours", seconds/3600)
}
