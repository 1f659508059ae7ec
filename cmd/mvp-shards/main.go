// mvp-shards looks into a target store: lists its shards, sums it up, checks every byte.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"mvptargets/internal/cli"
	"mvptargets/internal/progress"
	"mvptargets/shards"
)

const synopsis = `ls|stat|verify|show STORE

ls      one line per shard: name, batches, rows, bytes
stat    what the store holds, what made it, what it takes on disk
verify  reads every byte and compares it with names, digests and index
show    pictures of stored views beside their features; see mvp-shards show --help`

func main() {
	cli.Main("mvp-shards", func(ctx context.Context, args []string) error {
		return run(ctx, args, os.Stdout)
	})
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "show" {
		return show(args[1:], out)
	}
	f := cli.Flags("mvp-shards", synopsis)
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 2 {
		return cli.Usagef("want a command and a store, got %d arguments", f.NArg())
	}
	commands := map[string]func(context.Context, *cli.FlagSet, *shards.Store, io.Writer) error{"ls": list, "stat": stat, "verify": verify}
	command, ok := commands[f.Arg(0)]
	if !ok {
		return cli.Usagef("unknown command %q: use ls, stat, verify or show", f.Arg(0))
	}
	s, err := shards.Open(f.Arg(1))
	if err != nil {
		return err
	}
	return command(ctx, f, s, out)
}

func list(_ context.Context, _ *cli.FlagSet, s *shards.Store, out io.Writer) error {
	x, err := s.Index()
	if err != nil {
		return err
	}
	names, err := s.Shards()
	if err != nil {
		return err
	}
	batches, rows := map[string]int{}, map[string]int{}
	for _, b := range x.Batches {
		batches[b.Shard]++
		rows[b.Shard] += b.Rows
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "shard\tbatches\trows\tbytes\t")
	for _, n := range names {
		info, err := os.Stat(filepath.Join(s.Dir(), "shards", n+".arrow"))
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%.16s\t%d\t%d\t%d\t\n", n, batches[n], rows[n], info.Size())
	}
	return w.Flush()
}

func stat(_ context.Context, _ *cli.FlagSet, s *shards.Store, out io.Writer) error {
	x, err := s.Index()
	if err != nil {
		return err
	}
	names, err := s.Shards()
	if err != nil {
		return err
	}
	var bytes int64
	for _, n := range names {
		info, err := os.Stat(filepath.Join(s.Dir(), "shards", n+".arrow"))
		if err != nil {
			return err
		}
		bytes += info.Size()
	}
	m := s.Manifest()
	p := m.Producer
	raw := 2 * m.Patches() * m.Dim
	if m.CLS {
		raw += 2 * m.Dim
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "rows\t%d views of %d images (%d repeated)\n", x.Rows, x.Images(), x.Repeats)
	fmt.Fprintf(w, "shards\t%d, %d bytes\n", len(names), bytes)
	if x.Rows > 0 {
		fmt.Fprintf(w, "per view\t%.0f bytes on disk, %d raw\n", float64(bytes)/float64(x.Rows+x.Repeats), raw)
	}
	fmt.Fprintf(w, "features\t%s, %dx%d patches of %d, %s, class token: %v\n", p.Features, m.Grid[0], m.Grid[1], m.Dim, p.Encoding, m.CLS)
	fmt.Fprintf(w, "producer\t%s\n", m.ProducerID)
	for _, f := range p.Model {
		fmt.Fprintf(w, "model\t%s, sha256 %s\n", f.Name, f.SHA256)
	}
	fmt.Fprintf(w, "arithmetic\t%s\n", p.Precision)
	fmt.Fprintf(w, "pixels\t%d, %s, mean %v, std %v, decoder %s\n", p.Size, p.Resize, p.Mean, p.Std, p.Decoder)
	fmt.Fprintf(w, "views\t%s, min scale %g, seed %d\n", p.Policy.Name, p.Policy.MinScale, p.Policy.Seed)
	return w.Flush()
}

func verify(ctx context.Context, f *cli.FlagSet, s *shards.Store, out io.Writer) error {
	names, err := s.Shards()
	if err != nil {
		return err
	}
	var total int64
	for _, n := range names {
		if info, err := os.Stat(filepath.Join(s.Dir(), "shards", n+".arrow")); err == nil {
			total += info.Size()
		}
	}
	bar := progress.New(f.Logger(), os.Stderr, "verify", total)
	report, err := s.Verify(ctx, bar.Add)
	bar.Done()
	if err != nil {
		return err
	}
	for _, p := range report.Problems {
		fmt.Fprintln(out, p)
	}
	fmt.Fprintf(out, "%d shards, %d batches, %d rows, %d repeated, %d leftovers of killed jobs, %d problems\n",
		report.Shards, report.Batches, report.Rows, report.Repeats, len(report.Leftovers), len(report.Problems))
	if len(report.Problems) > 0 {
		return fmt.Errorf("store %s does not verify: %d problems; remove the files named and run mvp-extract again", s.Dir(), len(report.Problems))
	}
	return nil
}
