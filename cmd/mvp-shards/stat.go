package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"mvptargets/internal/cli"
	"mvptargets/shards"
)

// summary is what stat prints, as lines or as JSON.
type summary struct {
	Rows        int             `json:"rows"` // that count
	Repeats     int             `json:"repeats"`
	Images      int             `json:"images"`
	Views       map[int]int     `json:"views"` // rows by view
	Shards      int             `json:"shards"`
	Batches     int             `json:"batches"`
	DiskBytes   int64           `json:"disk_bytes"`     // all files of the store
	ViewBytes   float64         `json:"bytes_per_view"` // on disk
	RawBytes    int64           `json:"raw_bytes_per_view"`
	BatchRows   float64         `json:"rows_per_batch"`
	MixedRows   float64         `json:"mixed_rows"` // that a reader with shards.Window draws from
	ProducerID  string          `json:"producer_id"`
	Producer    shards.Producer `json:"producer"`
	Grid        [2]int          `json:"grid"`
	Dim         int             `json:"dim"`
	CLS         bool            `json:"cls"`
	Classes     []string        `json:"classes,omitempty"`
	Libraries   map[string]int  `json:"libraries"` // shards by what computed them
	Rejects     int             `json:"rejects"`   // images
	RejectedFor []reason        `json:"rejects_by_reason,omitempty"`
}

type reason struct {
	Reason string `json:"reason"`
	Images int    `json:"images"`
}

func summarize(s *shards.Store) (*summary, error) {
	x, err := s.Index()
	if err != nil {
		return nil, err
	}
	rejects, err := s.Rejects()
	if err != nil {
		return nil, err
	}
	disk, err := diskBytes(s.Dir())
	if err != nil {
		return nil, err
	}
	m := s.Manifest()
	sum := &summary{Rows: x.Rows, Repeats: x.Repeats, Images: x.Images(), Views: x.Views, Shards: len(x.Shards), Batches: len(x.Batches),
		DiskBytes: disk, RawBytes: m.RowBytes(), ProducerID: m.ProducerID, Producer: m.Producer, Grid: m.Grid, Dim: m.Dim, CLS: m.CLS,
		Classes: m.Classes, Libraries: map[string]int{}}
	for _, info := range x.Shards {
		sum.Libraries[info.Library]++
	}
	if x.Rows > 0 {
		sum.ViewBytes = float64(disk) / float64(x.Rows)
		sum.BatchRows = float64(x.Rows) / float64(len(x.Batches))
		sum.MixedRows = min(float64(x.Rows), shards.Window*sum.BatchRows)
	}
	sum.Rejects, sum.RejectedFor = byReason(rejects)
	return sum, nil
}

// diskBytes is what the files of a folder take. Workers may rename and remove files meanwhile.
func diskBytes(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				total += info.Size()
			}
		}
		if path != dir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// byReason counts images by reason, the most frequent first. An image's own key in a reason is left out, so that equal reasons meet.
func byReason(rejects []shards.Reject) (images int, reasons []reason) {
	counts, keys := map[string]int{}, map[string]bool{}
	for _, r := range rejects {
		counts[strings.ReplaceAll(r.Reason, r.Key, "...")]++
		keys[r.Key] = true
	}
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		reasons = append(reasons, reason{text, counts[text]})
	}
	slices.SortStableFunc(reasons, func(a, b reason) int { return cmp.Compare(b.Images, a.Images) })
	return len(keys), reasons
}

// shownReasons is how many reasons stat prints as lines; --json has all.
const shownReasons = 12

func stat(_ context.Context, f *cli.FlagSet, s *shards.Store, out io.Writer) error {
	sum, err := summarize(s)
	if err != nil {
		return err
	}
	if f.Lookup("json").Value.String() == "true" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(sum)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	sum.print(w)
	return w.Flush()
}

func (sum *summary) print(w io.Writer) {
	p := sum.Producer
	fmt.Fprintf(w, "rows\t%d views of %d images, %d repeated\n", sum.Rows, sum.Images, sum.Repeats)
	if len(sum.Views) > 1 {
		for _, v := range slices.Sorted(maps.Keys(sum.Views)) {
			fmt.Fprintf(w, "view %d\t%d\n", v, sum.Views[v])
		}
	}
	fmt.Fprintf(w, "shards\t%d, %d batches, all files %d bytes\n", sum.Shards, sum.Batches, sum.DiskBytes)
	if sum.Rows > 0 {
		fmt.Fprintf(w, "per view\t%.0f bytes on disk, %d raw\n", sum.ViewBytes, sum.RawBytes)
		fmt.Fprintf(w, "mixing\tbatches of %.4g rows; a window of %d of them draws from %.0f rows\n", sum.BatchRows, shards.Window, sum.MixedRows)
	}
	fmt.Fprintf(w, "features\t%s, %dx%d patches of %d, %s, class token: %v\n", p.Features, sum.Grid[0], sum.Grid[1], sum.Dim, p.Encoding, sum.CLS)
	fmt.Fprintf(w, "producer\t%s\n", sum.ProducerID)
	for _, f := range p.Model {
		fmt.Fprintf(w, "model\t%s, sha256 %s\n", f.Name, f.SHA256)
	}
	fmt.Fprintf(w, "graph edit\t%d\n", p.GraphEdit)
	fmt.Fprintf(w, "arithmetic\t%s\n", p.Precision)
	fmt.Fprintf(w, "pixels\t%d, %s, mean %v, std %v, decoder %s\n", p.Size, p.Resize, p.Mean, p.Std, p.Decoder)
	policy, _ := json.Marshal(p.Policy)
	fmt.Fprintf(w, "views\t%s\n", policy)
	fmt.Fprintf(w, "schema\t%d\n", p.Schema)
	for _, library := range slices.Sorted(maps.Keys(sum.Libraries)) {
		fmt.Fprintf(w, "computed by\t%s: %d shards\n", library, sum.Libraries[library])
	}
	if n := len(sum.Classes); n > 0 {
		fmt.Fprintf(w, "classes\t%d: %s\n", n, abridged(sum.Classes, 8))
	}
	fmt.Fprintf(w, "rejects\t%d images\n", sum.Rejects)
	for _, r := range sum.RejectedFor[:min(shownReasons, len(sum.RejectedFor))] {
		fmt.Fprintf(w, "\t%d: %s\n", r.Images, r.Reason)
	}
	if more := len(sum.RejectedFor) - shownReasons; more > 0 {
		fmt.Fprintf(w, "\t%d more reasons: --json lists them\n", more)
	}
}

// abridged joins names, of which at most n are shown.
func abridged(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, ... %s", strings.Join(names[:n-1], ", "), names[len(names)-1])
}
