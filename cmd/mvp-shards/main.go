// mvp-shards looks into a target store: lists its shards, sums it up, checks every byte.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
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
		return show(ctx, args[1:], out)
	}
	f := cli.Flags("mvp-shards", synopsis)
	f.Bool("json", false, "stat as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 2 {
		return cli.Usagef("want a command and a store, such as stat STORE, but %q was given", strings.Join(f.Args(), " "))
	}
	commands := map[string]func(context.Context, *cli.FlagSet, *shards.Store, io.Writer) error{"ls": list, "stat": stat, "verify": verify}
	command, ok := commands[f.Arg(0)]
	if !ok {
		return cli.Usagef("unknown command %q: use ls, stat, verify or show", f.Arg(0))
	}
	if f.IsSet("json") && f.Arg(0) != "stat" {
		return cli.Usagef("--json is for stat")
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
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "shard\tbatches\trows\trepeated\tbytes\t  computed by")
	for _, i := range x.Shards {
		fmt.Fprintf(w, "%.16s\t%d\t%d\t%d\t%d\t  %s\n", i.Name, i.Batches, i.Rows, i.Repeats, i.Bytes, i.Library)
	}
	return w.Flush()
}

func verify(ctx context.Context, f *cli.FlagSet, s *shards.Store, out io.Writer) error {
	total, err := diskBytes(filepath.Join(s.Dir(), "shards"))
	if err != nil {
		return err
	}
	bar := progress.New(f.Logger(), os.Stderr, "verify bytes", total)
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
