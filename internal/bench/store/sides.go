package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"mvptargets/shards"
	"mvptargets/shards/view"
)

//go:embed peer.py
var peerScript string

// writeStore makes a store of normal numbers and gives the rate of encoding, compressing and publishing them, in MB/s.
func writeStore(ctx context.Context, dir, encoding string, rows int) (float64, error) {
	const patches, dim, drawn = 196, 512, 64
	r := rand.New(rand.NewPCG(1, 1))
	features := make([]float32, drawn*patches*dim)
	for i := range features {
		features[i] = float32(r.NormFloat64())
	}
	s, err := shards.Create(dir, shards.Manifest{Grid: [2]int{14, 14}, Dim: dim, CLS: true, Producer: shards.Producer{Features: "projected",
		Precision: "f32", Size: 224, Policy: view.NewCenter(), Encoding: encoding}})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	w, err := s.Writer(shards.WriterOptions{Library: "bench"})
	if err != nil {
		return 0, err
	}
	var row shards.Row
	for i := range rows {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		key := fmt.Sprintf("class/%06d.jpg", i)
		row.Identity, row.Label = shards.Identity{Key: key, Image: sha256.Sum256([]byte(key))}, int32(i%1000)
		row.View = view.View{W: 500, H: 375}
		x := features[i%drawn*patches*dim:][:patches*dim]
		w.Encode(&row, x, x[:dim])
		if err := w.Append(&row); err != nil {
			return 0, err
		}
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return float64(int64(rows)*s.Manifest().RowBytes()) / 1e6 / time.Since(start).Seconds(), nil
}

// peer is pyarrow in a process of its own, which reads on request.
type peer struct {
	version string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func startPeer(ctx context.Context, python string, paths []string) (*peer, error) {
	if python == "" {
		return nil, errors.New("--python is not given")
	}
	p := &peer{cmd: exec.CommandContext(ctx, python, append([]string{"-c", peerScript}, paths...)...)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := fmt.Fscanln(p.out, &p.version); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s has no pyarrow", python)
	}
	return p, nil
}

// read lets the peer read everything once and gives the seconds. It must find as many rows.
func (p *peer) read(rows int) (took float64, err error) {
	if _, err := fmt.Fprintln(p.in); err != nil {
		return 0, err
	}
	var found int
	if _, err := fmt.Fscanln(p.out, &took, &found); err != nil {
		return 0, fmt.Errorf("the peer ended: %w", err)
	}
	if found != rows {
		return 0, fmt.Errorf("the peer read %d rows, the store has %d", found, rows)
	}
	return took, nil
}

func (p *peer) stop() {
	p.in.Close()
	p.cmd.Wait()
}
