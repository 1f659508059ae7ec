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

// Device is a blas.Device that, while On, books the time of each operation under its name. A Stamper's operations run on as ever; on
// another device each is waited for, which makes a step slower, so that there shares count, not the sum.
type Device struct {
	blas.Device
	On     bool
	rows   map[string]*Row
	issued []*issued
	err    error // what waiting for an operation gave: the next Sync's
}

// Stamper is a device that notes the time when all operations before are done, without anyone waiting. The note can be read after Sync.
type Stamper interface{ Stamp(*time.Time) }

// issued is an operation that is not booked yet.
type issued struct {
	name       string
	cost       blas.Cost
	start, end time.Time
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

// Rows are the operations since New or Reset, the longest first. It waits for them.
func (d *Device) Rows() []Row {
	d.settle()
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
func (d *Device) Reset() {
	d.settle()
	clear(d.rows)
}

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

// time runs do, which issues one operation or transfer, and notes when it starts and ends.
func (d *Device) time(name string, c blas.Cost, do func()) {
	if !d.On {
		do()
		return
	}
	o := &issued{name: name, cost: c}
	d.issued = append(d.issued, o)
	if s, ok := d.Device.(Stamper); ok {
		s.Stamp(&o.start)
		do()
		s.Stamp(&o.end)
		return
	}
	o.start = time.Now()
	do()
	d.settle()
}

// settle waits for the operations, and books those that are not.
func (d *Device) settle() {
	if err := d.Device.Sync(); d.err == nil {
		d.err = err
	}
	now := time.Now()
	for _, o := range d.issued {
		if o.end.IsZero() {
			o.end = now
		}
		r := d.rows[o.name]
		if r == nil {
			r = &Row{Name: o.name}
			d.rows[o.name] = r
		}
		r.Calls, r.Time, r.FLOPs, r.Bytes = r.Calls+1, r.Time+o.end.Sub(o.start), r.FLOPs+o.cost.FLOPs, r.Bytes+o.cost.Bytes
	}
	d.issued = d.issued[:0]
}
