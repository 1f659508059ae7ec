// Package profile times the operations of a blas.Device one by one.
package profile

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"mvptargets/blas"
)

// Device is a blas.Device that, while On, waits for each operation and books its time under its name. Waiting makes a step slower
// by what a device saves by running on without the caller, so shares count, not the sum.
type Device struct {
	blas.Device
	On   bool
	rows map[string]*Row
	err  error // what waiting for an operation gave: the next Sync's
}

// Row is what one name came to.
type Row struct {
	Name         string
	Calls        int
	Time         time.Duration
	FLOPs, Bytes int64
}

// New wraps dev.
func New(dev blas.Device) *Device { return &Device{Device: dev, rows: map[string]*Row{}} }

// Rows are the operations since New or Reset, the longest first.
func (d *Device) Rows() []Row {
	var out []Row
	for _, r := range d.rows {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), strings.Compare(a.Name, b.Name))
	})
	return out
}

// Reset forgets all rows.
func (d *Device) Reset() { clear(d.rows) }

// Write prints the rows as a table, time and calls divided by steps.
func Write(w io.Writer, rows []Row, steps int) error {
	var total Row
	for _, r := range rows {
		total.Calls, total.Time, total.FLOPs, total.Bytes = total.Calls+r.Calls, total.Time+r.Time, total.FLOPs+r.FLOPs, total.Bytes+r.Bytes
	}
	total.Name = "sum"
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "operation\tcalls\tms/step\tshare\tGFLOP/s\tGB/s\t")
	for _, r := range append(rows, total) {
		seconds := r.Time.Seconds()
		fmt.Fprintf(t, "%s\t%.4g\t%.3f\t%.1f %%\t%s\t%s\t\n", r.Name, float64(r.Calls)/float64(steps), 1e3*seconds/float64(steps),
			100*seconds/total.Time.Seconds(), rate(r.FLOPs, seconds), rate(r.Bytes, seconds))
	}
	return t.Flush()
}

// rate is n per second in units of 1e9.
func rate(n int64, seconds float64) string {
	if n == 0 || seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(n)/seconds/1e9)
}

// time runs do, which issues one operation or transfer, and waits for it.
func (d *Device) time(name string, c blas.Cost, do func()) {
	if !d.On {
		do()
		return
	}
	start := time.Now()
	do()
	if err := d.Device.Sync(); d.err == nil {
		d.err = err
	}
	took := time.Since(start)
	r := d.rows[name]
	if r == nil {
		r = &Row{Name: name}
		d.rows[name] = r
	}
	r.Calls, r.Time, r.FLOPs, r.Bytes = r.Calls+1, r.Time+took, r.FLOPs+c.FLOPs, r.Bytes+c.Bytes
}
