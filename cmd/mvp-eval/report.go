package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"mvptargets/blas/devices"
	"mvptargets/internal/cli"
	"mvptargets/student/report"
)

const reportSynopsis = `--run RUN --targets STORE --images SRC [flags]

Writes a run's report, one self-contained HTML file: the loss curve, what probes read from the features, and the teacher's and the
student's features of some views side by side.`

func runReport(ctx context.Context, args []string, out io.Writer) error {
	f := cli.Flags("mvp-eval report", reportSynopsis)
	f.Libraries = libraries
	var j report.Job
	f.StringVar(&j.Run, "run", "", "the run's `folder`")
	f.StringVar(&j.Targets, "targets", "", "the target store that it was trained from, a `folder`")
	f.StringVar(&j.Images, "images", "", "the `source` of images that the store was made from")
	f.StringVar(&j.Probe, "probe", "", "a probe's result, the JSON `file` of mvp-eval probe --out")
	f.StringVar(&j.Base, "baseline", "", "that of mvp-eval probe --untrained, a JSON `file`")
	f.IntVar(&j.Views, "views", 8, "`number` of views to show, of as many different classes as can be")
	file := f.String("out", "", "the HTML `file` to write; RUN/report.html if not given")
	device := f.Enum("device", "auto", devices.Names, devices.About)
	threads := f.Int("threads", 0, "`threads` of the device; 0: one per core")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, required := range []string{"run", "targets", "images"} {
		if !f.IsSet(required) {
			return cli.Usagef("--%s is missing", required)
		}
	}
	const maxViews = 256
	switch {
	case f.NArg() > 0:
		return cli.Usagef("unexpected argument %q", f.Arg(0))
	case j.Views < 1 || j.Views > maxViews:
		return cli.Usagef("--views %d is not within 1..%d", j.Views, maxViews)
	case j.Base != "" && j.Probe == "":
		return cli.Usagef("--baseline is compared with --probe, which is missing")
	}
	if *file == "" {
		*file = filepath.Join(j.Run, "report.html")
	}
	dev, err := openDevice(*device, *threads, f.Logger())
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := j.Write(ctx, dev, *file); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "report:", *file)
	return err
}
