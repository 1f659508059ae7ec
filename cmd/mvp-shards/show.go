package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"mvptargets/internal/cli"
	"mvptargets/shards"
	"mvptargets/shards/sample"
)

const showSynopsis = `STORE --images SRC --out FILE.png|FILE.html [flags]

Shows stored views beside their patch features, the first three principal components as red, green and blue, in one basis for all
views shown. Looking for a --key reads the store from its start.`

func show(ctx context.Context, args []string, out io.Writer) error {
	f := cli.Flags("mvp-shards show", showSynopsis)
	images := f.String("images", "", "the `source` of images that the store was made from")
	key := f.String("key", "", "all views of the image with this `key`: its path relative to the source")
	count := f.Int("count", 9, "`number` of views to show, of as many different classes as can be")
	file := f.String("out", "", "the `file` to write: a picture (.png) or a page (.html)")
	if err := f.Parse(args); err != nil {
		return err
	}
	const maxCount = 1000
	switch ext := strings.ToLower(filepath.Ext(*file)); {
	case f.NArg() != 1:
		return cli.Usagef("want one store, got %d arguments", f.NArg())
	case *images == "":
		return cli.Usagef("--images is missing")
	case *file == "":
		return cli.Usagef("--out is missing")
	case ext != ".png" && ext != ".html":
		return cli.Usagef("--out %s is neither .png nor .html", *file)
	case f.IsSet("key") && f.IsSet("count"):
		return cli.Usagef("--key shows all views of one image, --count some of any: give one of them")
	case *count < 1 || *count > maxCount:
		return cli.Usagef("--count %d is not within 1..%d", *count, maxCount)
	}
	s, err := shards.Open(f.Arg(0))
	if err != nil {
		return err
	}
	size := s.Manifest().Producer.Size
	samples, err := sample.Find(ctx, s, *images, sample.Query{Key: *key, Count: *count, Size: size})
	if err != nil {
		return err
	}
	pairs, basis, err := sample.Pairs(s.Manifest(), samples, size)
	if err != nil {
		return err
	}
	if err := sample.Write(*file, s, pairs, basis); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d views in %s\n", len(pairs), *file)
	return nil
}
