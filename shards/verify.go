package shards

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"

	"mvptargets/internal/arrowfile"
	"mvptargets/internal/atomicfile"
)

// VerifyReport is what Verify found. Problems are one line each and name the file.
type VerifyReport struct {
	Shards, Batches, Rows int      // Rows that count
	Repeats               int      // rows that repeat an identity: dropped when read, harmless
	Leftovers             []string // temporary files of jobs that were killed: harmless
	Problems              []string
}

// Verify reads every byte of the store once: each shard against its name, each batch against its digest, every row against the
// sidecar, and every recorded view against the one that the policy draws. progress is told the bytes done, from several goroutines;
// it may be nil.
func (s *Store) Verify(ctx context.Context, progress func(bytes int64)) (*VerifyReport, error) {
	names, err := s.Shards()
	if err != nil {
		return nil, err
	}
	sides, problems := make([]*sidecar, len(names)), make([]error, len(names))
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(names)) {
		wg.Go(func() {
			var v verifier
			for i := range jobs {
				sides[i], problems[i] = v.shard(ctx, s, names[i], progress)
			}
		})
	}
	for i := range names {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	report := &VerifyReport{Shards: len(names)}
	x := newIndex()
	for i, name := range names {
		if problems[i] != nil {
			report.Problems = append(report.Problems, problems[i].Error())
		}
		if sides[i] != nil {
			report.Batches += len(sides[i].batches)
			x.add(name, sides[i])
		}
	}
	report.Rows, report.Repeats = x.Rows, x.Repeats
	return report, s.verifyFolders(report)
}

// verifyFolders looks for what a store has besides shards.
func (s *Store) verifyFolders(report *VerifyReport) error {
	for _, dir := range []string{shardsDir, indexDir, rejectsDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, dir))
		if err != nil {
			return fmt.Errorf("verify store: %w", err)
		}
		for _, e := range entries {
			path := filepath.Join(s.dir, dir, e.Name())
			switch {
			case atomicfile.IsTemp(e.Name()):
				report.Leftovers = append(report.Leftovers, path)
			case dir == indexDir:
				shard := filepath.Join(s.dir, shardsDir, e.Name())
				if _, err := os.Stat(shard); err != nil {
					report.Problems = append(report.Problems, fmt.Sprintf("%s is missing, its sidecar is there", shard))
				}
			case dir == rejectsDir:
				if err := verifyNamed(path, rejectsSuffix); err != nil {
					report.Problems = append(report.Problems, err.Error())
				}
			}
		}
	}
	return nil
}

// verifyNamed compares a file with the digest in its name.
func verifyNamed(path, suffix string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if got, err := digestOf(f); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	} else if got+suffix != filepath.Base(path) {
		return fmt.Errorf("%s is damaged: its bytes have the digest %.12s", path, got)
	}
	return nil
}

// digestOf is the SHA-256 of all that r has, in hex.
func digestOf(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, r, make([]byte, 1<<20))
	return hex.EncodeToString(h.Sum(nil)), err
}

// verifier holds what one worker of Verify uses again.
type verifier struct {
	batch Batch
	bytes []byte
}

// shard checks one shard. Its sidecar is returned where it could be read, whatever else is wrong.
func (v *verifier) shard(ctx context.Context, s *Store, name string, progress func(int64)) (*sidecar, error) {
	path := s.shardPath(name)
	side, err := s.readSidecar(name)
	if errors.Is(err, fs.ErrNotExist) {
		side, err = s.rebuild(name)
	}
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return side, fmt.Errorf("read shard: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return side, fmt.Errorf("read %s: %w", path, err)
	}
	if info.Size() != side.size {
		return side, fmt.Errorf("%s has %d bytes, its sidecar says %d", path, info.Size(), side.size)
	}
	in := &progressReader{ctx, file, progress}
	digest := sha256.New()
	wrong := v.batches(s, side, io.TeeReader(in, digest), file)
	if _, err := io.CopyBuffer(digest, in, v.buffer()); err != nil { // the footer, or what is left behind a problem
		return side, fmt.Errorf("read %s: %w", path, err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != name {
		text := ""
		if wrong != nil {
			text = fmt.Sprintf(" (%v)", wrong)
		}
		return side, fmt.Errorf("%s is damaged: its bytes have the digest %.12s%s", path, got, text)
	}
	if wrong != nil {
		return side, fmt.Errorf("%s: %w", path, wrong)
	}
	return side, nil
}

func (v *verifier) buffer() []byte {
	v.bytes = grown(v.bytes, 1<<20)
	return v.bytes
}

// batches reads a shard from its front, batch after batch, and compares each with its sidecar.
func (v *verifier) batches(s *Store, side *sidecar, in io.Reader, file io.ReaderAt) error {
	a, err := arrowfile.Open(file, side.size)
	if err != nil {
		return err
	}
	if err := s.manifest.check(a.Schema, s.manifest.schema("")); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, in, a.Header); err != nil {
		return err
	}
	rows := side.rows
	for i, b := range side.batches {
		block, err := a.Next()
		if err != nil {
			return fmt.Errorf("the sidecar lists %d batches, batch %d: %w", len(side.batches), i, err)
		}
		if block.Offset != b.Offset || int64(block.Head)+block.Body != b.Length {
			return fmt.Errorf("batch %d has %d bytes at %d, the sidecar says %d at %d", i, int64(block.Head)+block.Body, block.Offset, b.Length, b.Offset)
		}
		v.batch.raw = grown(v.batch.raw, int(b.Length))
		if _, err := io.ReadFull(in, v.batch.raw); err != nil {
			return err
		}
		if xxh(v.batch.raw) != b.Digest {
			return fmt.Errorf("batch %d at byte %d has another digest than the sidecar says", i, b.Offset)
		}
		if err := v.batch.decode(v.batch.raw, &s.manifest, &a.Layout); err != nil {
			return fmt.Errorf("batch %d at byte %d: %w", i, b.Offset, err)
		}
		if err := v.rows(&s.manifest, rows[:b.Rows], i); err != nil {
			return err
		}
		rows = rows[b.Rows:]
	}
	if _, err := a.Next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the sidecar lists %d batches, the shard has more", len(side.batches))
	}
	return nil
}

// rows compares a batch's rows with the sidecar's, and their views with what the policy draws for images of that size.
func (v *verifier) rows(m *Manifest, side []sideRow, batch int) error {
	b := &v.batch
	if b.Rows != len(side) {
		return fmt.Errorf("batch %d has %d rows, the sidecar says %d", batch, b.Rows, len(side))
	}
	for i := range side {
		want := &side[i]
		if got := (Identity{b.Key[i], b.Image[i], b.View[i].Index}); got != want.Identity {
			return fmt.Errorf("row %d of batch %d is view %d of %s, the sidecar says view %d of %s", i, batch, got.View, got.Key, want.View, want.Key)
		}
		if want.width <= 0 || want.height <= 0 {
			continue
		}
		if drawn := m.Producer.Policy.View(want.Image, want.View, int(want.width), int(want.height)); !reflect.DeepEqual(drawn, b.View[i]) {
			return fmt.Errorf("view %d of %s is recorded as %+v, the policy draws %+v", want.View, want.Key, b.View[i], drawn)
		}
	}
	return nil
}

// progressReader ends with its context and tells how much was read.
type progressReader struct {
	ctx  context.Context
	r    io.Reader
	tell func(int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := p.r.Read(b)
	if p.tell != nil {
		p.tell(int64(n))
	}
	return n, err
}
