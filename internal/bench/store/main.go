// store measures how fast a target store is read and written on one core, beside pyarrow on the same files.
//
//	go run ./internal/bench/store [--python PYTHON] [STORE...]
//
// Without STORE it writes stores of ViT-B/16's shape, 196 patches of 512, from normal numbers, in both encodings, and removes them
// again. Both sides read every batch of every shard and decompress all columns; ours also compares each batch's digest and multiplies
// int8 out. The files are in the page cache. Rates are of the features as they come out, float16.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"mvptargets/internal/bench/figures"
	"mvptargets/internal/cli"
	"mvptargets/shards"
)

func main() { cli.Main("bench-store", run) }

// result is a line of the table. Rates are MB/s of the features in their encoding, uncompressed, medians over the rounds.
type result struct {
	Store     string  `json:"store"`
	Encoding  string  `json:"encoding"`
	Rows      int     `json:"rows"`
	RawBytes  int64   `json:"raw_bytes"`
	DiskBytes int64   `json:"disk_bytes"`
	Write     float64 `json:"write_mb_per_s,omitempty"`
	Read      float64 `json:"read_mb_per_s"`
	Peer      float64 `json:"peer_mb_per_s,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"`
	ViewsRead float64 `json:"views_read_per_s"`
}

type report struct {
	Cores      int      `json:"cores"`
	Rounds     int      `json:"rounds"`
	PyArrow    string   `json:"pyarrow,omitempty"`
	PeerWhyNot string   `json:"peer_why_not,omitempty"`
	Results    []result `json:"results"`
}

func run(ctx context.Context, args []string) error {
	f := cli.Flags("bench-store", "[STORE...] [flags]\nReads target stores on one core, with this tree's reader and with pyarrow, in turns. Without STORE it makes its own.")
	python := f.String("python", "", "`program` with pyarrow, for the peer")
	rounds := f.Int("rounds", 7, "timed reads of everything, a `number`")
	rows := f.Int("rows", 1200, "`views` of a store that is made, 200 kB each as float16")
	out := f.String("json", "", "`file` to write the results to as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *rows < 1 {
		return cli.Usagef("--rounds and --rows must be positive")
	}
	runtime.GOMAXPROCS(1)
	r := report{Cores: 1, Rounds: *rounds}
	if f.NArg() > 0 {
		for i := range f.NArg() {
			if err := r.read(ctx, f.Arg(i), *python, result{Store: f.Arg(i)}); err != nil {
				return err
			}
		}
	} else if err := r.made(ctx, *rows, *python); err != nil {
		return err
	}
	r.print()
	return figures.Write(*out, r)
}

// made writes a store per encoding and reads it.
func (r *report) made(ctx context.Context, rows int, python string) error {
	scratch, err := os.MkdirTemp("", "bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	for _, encoding := range shards.Encodings() {
		dir := filepath.Join(scratch, encoding)
		rate, err := writeStore(ctx, dir, encoding, rows)
		if err != nil {
			return err
		}
		if err := r.read(ctx, dir, python, result{Store: "196 patches of 512, normal numbers", Write: rate}); err != nil {
			return err
		}
	}
	return nil
}

// read measures both sides on one store, in turns.
func (r *report) read(ctx context.Context, dir, python string, line result) error {
	s, err := shards.Open(dir)
	if err != nil {
		return err
	}
	x, err := s.Index()
	if err != nil {
		return err
	}
	if x.Rows == 0 {
		return fmt.Errorf("store %s holds no rows", dir)
	}
	line.Encoding, line.Rows = s.Manifest().Producer.Encoding, x.Rows
	line.RawBytes = int64(x.Rows+x.Repeats) * s.Manifest().RowBytes()
	var paths []string
	for _, i := range x.Shards {
		line.DiskBytes += i.Bytes
		paths = append(paths, filepath.Join(dir, "shards", i.Name+".arrow"))
	}
	peer, err := startPeer(ctx, python, paths)
	if err != nil {
		r.PeerWhyNot = cli.OneLine(err.Error())
	} else {
		defer peer.stop()
		r.PyArrow = peer.version
	}
	var ours, theirs []float64
	reader := s.Reader()
	defer reader.Close()
	var b shards.Batch
	for round := range r.Rounds + 1 {
		start := time.Now()
		for _, ref := range x.Batches {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := reader.ReadBatch(ref, &b); err != nil {
				return err
			}
		}
		took := time.Since(start).Seconds()
		if round > 0 { // the first warms up
			ours = append(ours, took)
		}
		if peer == nil {
			continue
		}
		if took, err = peer.read(x.Rows + x.Repeats); err != nil {
			return err
		}
		if round > 0 {
			theirs = append(theirs, took)
		}
	}
	line.Read, line.ViewsRead = float64(line.RawBytes)/1e6/median(ours), float64(x.Rows)/median(ours)
	if peer != nil {
		line.Peer = float64(line.RawBytes) / 1e6 / median(theirs)
		line.Ratio = line.Read / line.Peer
	}
	r.Results = append(r.Results, line)
	return nil
}

func median(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

func (r *report) print() {
	peer := "no pyarrow: " + r.PeerWhyNot
	if r.PeerWhyNot == "" {
		peer = "pyarrow " + r.PyArrow
	}
	fmt.Printf("MB/s of uncompressed features on one core, median of %d rounds in turns; peer: %s\n\n", r.Rounds, peer)
	fmt.Println("| store | encoding | views | on disk / raw | write | read | pyarrow reads | read / pyarrow | views/s read |\n|---|---|---|---|---|---|---|---|---|")
	for _, l := range r.Results {
		write, theirs, ratio := "", "", ""
		if l.Write > 0 {
			write = fmt.Sprintf("%.0f", l.Write)
		}
		if l.Peer > 0 {
			theirs, ratio = fmt.Sprintf("%.0f", l.Peer), fmt.Sprintf("%.2f", l.Ratio)
		}
		fmt.Printf("| %s | %s | %d | %.3f | %s | %.0f | %s | %s | %.0f |\n", l.Store, l.Encoding, l.Rows,
			float64(l.DiskBytes)/float64(l.RawBytes), write, l.Read, theirs, ratio, l.ViewsRead)
	}
}
