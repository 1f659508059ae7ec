package shards

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"mvptargets/internal/atomicfile"
)

// A lease keeps two workers off one part of a job. It costs work, never rows, if it fails: rows computed twice are dropped.
//
// The leases of a part are files leases/PART.N.json, N counting from 1, of which the highest N is the lease. A worker takes a part by
// creating the file after the newest, which only one can do, and only the worker that created a file writes to it again: its heartbeat,
// and in the end that it is released. Nothing that another may hold is ever replaced or removed, so there is no moment at which two
// workers can both believe to have taken over. Files below the newest are removed by its owner.
//
// Time is taken from no clock but a worker's own: a lease is stale when it has not changed while somebody watched it for staleAfter. One
// whose process is gone from this very machine need not be watched.

// Times of a lease. A network file system may show a file as it was a minute ago; staleAfter is well above that.
const (
	beatEvery  = 10 * time.Second
	staleAfter = 2 * time.Minute
)

const (
	leasesDir   = "leases"
	leaseSuffix = ".json"
)

// Lease is the right to work on a part, kept alive in the background until it is released.
type Lease struct {
	lessor
	number int
	record leaseRecord
	stop   chan struct{}
	lost   chan struct{}
	idle   sync.WaitGroup
}

// lessor finds and takes the leases of one part.
type lessor struct {
	dir, part   string
	beat, stale time.Duration
	self        process
}

// leaseRecord is a lease's file.
type leaseRecord struct {
	Part     string    `json:"part"`
	Token    string    `json:"token"` // random: who created the file
	Host     string    `json:"host"`
	Process  process   `json:"process"`
	Started  time.Time `json:"started"`
	Beat     uint64    `json:"beat"` // rises while the worker lives
	BeatAt   time.Time `json:"beat_at"`
	Released bool      `json:"released"`
}

// HeldError says that a live worker has the part.
type HeldError struct {
	Part, Host string
	PID        int
	Path       string // the lease
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("part %s is being worked on by process %d on %s (%s): wait for it or end it; its lease is taken over once it is gone",
		e.Part, e.PID, e.Host, e.Path)
}

// Lease takes the part of that name, such as 0/8. It is a *HeldError if a live worker has it, which shows within beatEvery; after a worker
// that is gone it takes up to staleAfter, and no time if that was a process of this machine.
func (s *Store) Lease(ctx context.Context, part string) (*Lease, error) {
	l := lessor{dir: filepath.Join(s.dir, leasesDir), part: part, beat: beatEvery, stale: staleAfter, self: thisProcess()}
	return l.take(ctx)
}

var partName = regexp.MustCompile(`^[0-9A-Za-z_/-]+$`)

func (l lessor) path(number int) string {
	return filepath.Join(l.dir, fmt.Sprintf("%s.%d%s", strings.ReplaceAll(l.part, "/", "-of-"), number, leaseSuffix))
}

// numbers are those of the part's leases that are there.
func (l lessor) numbers() (all []int, newest int, err error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, 0, fmt.Errorf("list leases: %w", err)
	}
	prefix := strings.TrimSuffix(filepath.Base(l.path(0)), "0"+leaseSuffix)
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), prefix)
		if n, err := strconv.Atoi(strings.TrimSuffix(text, leaseSuffix)); ok && err == nil && n > 0 {
			all, newest = append(all, n), max(newest, n)
		}
	}
	return all, newest, nil
}

func (l lessor) take(ctx context.Context) (*Lease, error) {
	if !partName.MatchString(l.part) {
		return nil, fmt.Errorf("part %q cannot be the name of a lease", l.part)
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("take part %s: %w", l.part, err)
	}
	for ctx.Err() == nil {
		_, newest, err := l.numbers()
		if err != nil {
			return nil, err
		}
		if newest > 0 {
			if free, err := l.watch(ctx, newest); err != nil {
				return nil, err
			} else if !free {
				continue
			}
		}
		if lease, err := l.create(newest + 1); lease != nil || err != nil {
			return lease, err
		}
	}
	return nil, ctx.Err()
}

// watch looks at a lease until it is known to be free, or to be held, which is an error, or to be the newest no more.
func (l lessor) watch(ctx context.Context, number int) (free bool, err error) {
	var first string
	for start := time.Now(); ; {
		raw, err := os.ReadFile(l.path(number))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("read lease: %w", err)
		}
		var r leaseRecord
		damaged := json.Unmarshal(raw, &r) != nil // watched like any other
		switch {
		case !damaged && (r.Released || r.Process.gone(l.self)):
			return true, nil
		case first == "":
			first = string(raw)
		case first != string(raw):
			return false, &HeldError{l.part, r.Host, r.Process.PID, l.path(number)}
		case time.Since(start) > l.stale:
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(l.beat / 4):
		}
		if _, newest, err := l.numbers(); err != nil || newest != number {
			return false, err
		}
	}
}

// create takes the lease of that number; nil if another worker was faster.
func (l lessor) create(number int) (*Lease, error) {
	host, _ := os.Hostname()
	now := time.Now().UTC()
	c := &Lease{lessor: l, number: number, stop: make(chan struct{}), lost: make(chan struct{}),
		record: leaseRecord{Part: l.part, Token: rand.Text(), Host: host, Process: l.self, Started: now, BeatAt: now}}
	raw, err := c.record.encode()
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteExclusive(l.path(number), raw); errors.Is(err, fs.ErrExist) {
		// A network file system whose answer got lost may say so of our own success.
		if there, err := os.ReadFile(l.path(number)); err != nil || string(there) != string(raw) {
			return nil, nil
		}
	} else if err != nil {
		return nil, fmt.Errorf("take part %s: %w", l.part, err)
	}
	all, newest, err := l.numbers()
	if err != nil || newest > number { // what we took to be the newest was long gone
		os.Remove(l.path(number))
		return nil, err
	}
	for _, n := range all {
		if n < number {
			os.Remove(l.path(n))
		}
	}
	c.idle.Go(func() { c.keep(l.beat) })
	return c, nil
}

func (r *leaseRecord) encode() ([]byte, error) {
	raw, err := json.MarshalIndent(r, "", "  ")
	return append(raw, '\n'), err
}

func (c *Lease) write() error {
	raw, err := c.record.encode()
	if err != nil {
		return err
	}
	return atomicfile.Write(c.path(c.number), raw, 0o644)
}

// keep writes heartbeats until the lease is released or lost. A heartbeat that cannot be written is tried again: if the disk is full, the
// shards say so.
func (c *Lease) keep(beat time.Duration) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		if _, newest, err := c.numbers(); err == nil && newest > c.number {
			close(c.lost)
			os.Remove(c.path(c.number))
			return
		}
		c.record.Beat++
		c.record.BeatAt = time.Now().UTC()
		_ = c.write()
	}
}

// Lost is closed when another worker took the part over, because this one showed no heartbeat for too long.
func (c *Lease) Lost() <-chan struct{} { return c.lost }

// Release gives the part back. What is left of the lease says who worked on it last.
func (c *Lease) Release() error {
	close(c.stop)
	c.idle.Wait()
	select {
	case <-c.lost:
		return nil
	default:
	}
	c.record.Released = true
	return c.write()
}
