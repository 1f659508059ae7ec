package shards

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mvptargets/internal/atomicfile"
)

// VerifyReport is what Verify found. Problems are one line each and name the file.
type VerifyReport struct {
	Shards, Batches, Rows int
	Repeats               int      // rows that repeat an identity: harmless
	Leftovers             []string // temporary files of jobs that were killed: harmless
	Problems              []string
}

// Verify reads every byte of the store: each shard against its name, each batch against its digest and the index's rows.
// progress is told the bytes done; it may be nil.
func (s *Store) Verify(ctx context.Context, progress func(bytes int64)) (*VerifyReport, error) {
	report := &VerifyReport{}
	names, err := s.Shards()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		report.Shards++
		if err := s.verifyShard(ctx, name, report, progress); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			report.Problems = append(report.Problems, err.Error())
		}
	}
	for _, dir := range []string{shardsDir, indexDir, rejectsDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, dir))
		if err != nil {
			return nil, fmt.Errorf("verify store: %w", err)
		}
		for _, e := range entries {
			if atomicfile.IsTemp(e.Name()) {
				report.Leftovers = append(report.Leftovers, filepath.Join(s.dir, dir, e.Name()))
			} else if dir == indexDir {
				shard := filepath.Join(s.dir, shardsDir, e.Name())
				if _, err := os.Stat(shard); err != nil {
					report.Problems = append(report.Problems, fmt.Sprintf("%s is missing, its sidecar is there", shard))
				}
			}
		}
	}
	if x, err := s.Index(); err == nil {
		report.Repeats = x.Repeats
	}
	return report, nil
}

func (s *Store) verifyShard(ctx context.Context, name string, report *VerifyReport, progress func(int64)) error {
	path := filepath.Join(s.dir, shardsDir, name+shardSuffix)
	digest, size, err := digestFile(ctx, path, progress)
	if err != nil {
		return err
	}
	if digest != name {
		return fmt.Errorf("%s is damaged: its bytes have the digest %.12s", path, digest)
	}
	side, rows, err := readSidecar(filepath.Join(s.dir, indexDir, name+shardSuffix))
	if os.IsNotExist(err) {
		side, rows, err = s.rebuild(name)
	}
	if err != nil {
		return err
	}
	if side.Size != size {
		return fmt.Errorf("%s has %d bytes, its sidecar says %d", path, size, side.Size)
	}
	reader, at, b := s.Reader(), 0, Batch{}
	for i, info := range side.Batches {
		if err := reader.ReadBatch(BatchRef{Shard: name, BatchInfo: info, header: side.Header, size: side.Size}, &b); err != nil {
			return err
		}
		for j := range b.Rows {
			want := Identity{b.Key[j], b.Image[j], b.View[j].Index}
			if at >= len(rows) || rows[at].Identity != want || int(rows[at].batch) != i {
				return fmt.Errorf("%s: the sidecar does not list row %s of batch %d", path, b.Key[j], i)
			}
			at++
		}
		report.Batches++
		report.Rows += b.Rows
	}
	if at != len(rows) {
		return fmt.Errorf("%s: the sidecar lists %d rows, the shard has %d", path, len(rows), at)
	}
	return nil
}

func digestFile(ctx context.Context, path string, progress func(int64)) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h, buf, size := sha256.New(), make([]byte, 1<<20), int64(0)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		size += int64(n)
		if progress != nil {
			progress(int64(n))
		}
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), size, nil
		} else if err != nil {
			return "", 0, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return "", 0, ctx.Err()
}
