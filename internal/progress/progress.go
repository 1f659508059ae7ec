// Package progress shows how far a long job is: one line, redrawn, on a terminal; a log line every 10 s elsewhere.
//
// Log lines and the bar share the terminal through Writer, so that neither tears the other.
package progress

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	drawEvery  = 200 * time.Millisecond // on a terminal
	logEvery   = 10 * time.Second       // elsewhere
	rateWindow = 30 * time.Second       // the rate shown is that of the last half minute
)

// Bar counts units of work done. All methods are safe for concurrent use.
type Bar struct {
	log  *slog.Logger
	name string
	out  *screen // nil where the output is no terminal

	mu      sync.Mutex
	total   int64
	done    int64
	status  string
	start   time.Time
	samples []sample
	closed  bool

	quit chan struct{}
	idle sync.WaitGroup
}

// sample is a point of the rate's window.
type sample struct {
	at   time.Time
	done int64
}

// New starts a bar for total units, 0 where the total is not known. It draws on w if w is a terminal and logs to log if
// not. Done must be called in the end.
func New(log *slog.Logger, w *os.File, name string, total int64) *Bar {
	b := &Bar{log: log, name: name, total: total, start: time.Now(), quit: make(chan struct{})}
	every := logEvery
	if w != nil && term.IsTerminal(int(w.Fd())) {
		b.out, every = screenOf(w), drawEvery
	}
	b.run(every)
	return b
}

func (b *Bar) run(every time.Duration) {
	b.samples = append(b.samples, sample{b.start, 0})
	b.idle.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-b.quit:
				return
			case now := <-tick.C:
				b.show(now)
			}
		}
	})
}

// Add counts n more units as done.
func (b *Bar) Add(n int64) {
	b.mu.Lock()
	b.done += n
	b.mu.Unlock()
}

// SetTotal tells the total once it is known.
func (b *Bar) SetTotal(n int64) {
	b.mu.Lock()
	b.total = n
	b.mu.Unlock()
}

// Status sets the free text at the line's end.
func (b *Bar) Status(s string) {
	b.mu.Lock()
	b.status = s
	b.mu.Unlock()
}

// Done shows the final state and stops. A second call does nothing.
func (b *Bar) Done() {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return
	}
	close(b.quit)
	b.idle.Wait()
	b.finish(time.Now())
}

// rate gives units per second over the window, or over the whole run while the window is not full.
func (b *Bar) rate(now time.Time) float64 {
	for len(b.samples) > 1 && now.Sub(b.samples[1].at) >= rateWindow {
		b.samples = b.samples[1:]
	}
	first := b.samples[0]
	if seconds := now.Sub(first.at).Seconds(); seconds > 0 {
		return float64(b.done-first.done) / seconds
	}
	return 0
}

func (b *Bar) show(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rate := b.rate(now)
	b.samples = append(b.samples, sample{now, b.done})
	if b.out != nil {
		b.out.draw(b.line(now, rate))
		return
	}
	args := []any{"done", b.done}
	if b.total > 0 {
		args = append(args, "total", b.total)
	}
	args = append(args, "rate", fmt.Sprintf("%.4g/s", rate))
	if left := b.left(rate); left != "" {
		args = append(args, "left", left)
	}
	if b.status != "" {
		args = append(args, "status", b.status)
	}
	b.log.Info(b.name, args...)
}

// finish leaves the bar's last state on the terminal, or logs it, with the rate of the whole run.
func (b *Bar) finish(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	took := now.Sub(b.start)
	rate := float64(b.done) / max(took.Seconds(), 1e-9)
	if b.out != nil {
		b.out.end(b.line(now, rate))
		return
	}
	args := []any{"done", b.done, "rate", fmt.Sprintf("%.4g/s", rate), "took", clock(took)}
	if b.status != "" {
		args = append(args, "status", b.status)
	}
	if b.done < b.total {
		b.log.Info(b.name+" ended", append(args, "of", b.total)...)
		return
	}
	b.log.Info(b.name+" finished", args...)
}

// line is the terminal's line without the cursor's movements.
func (b *Bar) line(now time.Time, rate float64) string {
	var s strings.Builder
	s.WriteString(b.name)
	if b.total > 0 {
		const width = 24
		part := min(max(float64(b.done)/float64(b.total), 0), 1)
		full := int(part * width)
		fmt.Fprintf(&s, " %s%s %3.0f%% %d/%d", strings.Repeat("█", full), strings.Repeat("░", width-full), part*100, b.done, b.total)
	} else {
		fmt.Fprintf(&s, " %d", b.done)
	}
	fmt.Fprintf(&s, "  %.4g/s  %s", rate, clock(now.Sub(b.start)))
	if left := b.left(rate); left != "" {
		fmt.Fprintf(&s, "  left %s", left)
	}
	if b.status != "" {
		s.WriteString("  " + b.status)
	}
	return s.String()
}

func (b *Bar) left(rate float64) string {
	if b.total <= 0 || rate <= 0 || b.done > b.total {
		return ""
	}
	seconds := float64(b.total-b.done) / rate
	if seconds > 1e8 {
		return ""
	}
	return clock(time.Duration(seconds * float64(time.Second)))
}

// clock writes a duration as h:mm:ss or m:ss.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
