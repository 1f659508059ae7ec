// Package report makes a run's report.html: one self-contained page with the loss curve, what a linear probe reads from the student's
// features, and pictures of the teacher's and the student's features of the same views.
package report

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"math"
	"slices"

	"mvptargets/blas"
	"mvptargets/internal/page"
	"mvptargets/internal/pca"
	"mvptargets/shards"
	"mvptargets/shards/sample"
	"mvptargets/student"
	"mvptargets/student/probe"
)

// Job says what the report is about.
type Job struct {
	Run     string // a run's folder
	Targets string // the store that it was trained from
	Images  string // what the store was made from
	Probe   string // a probe's result on the run's checkpoint, JSON; "" for none
	Base    string // the same of the untrained student; "" for none
	Views   int    // pictures to show
}

// view is one stored view in the report: a square of pictures.
type view struct {
	Key             string
	Image, Masked   *image.RGBA
	Teacher, Guess  *image.RGBA
	Cosine, Visible float64 // mean over masked and over visible patches: student against teacher
}

// data is what report.html shows.
type data struct {
	Run, Store            string
	Manifest              shards.Manifest
	Rows                  int
	Checkpoint            *student.Checkpoint
	Loss, Rate            Chart
	Steps                 int
	First, Last           float64 // loss: of the first step, and the mean of the last twentieth
	Speed                 float64 // images/s, the median step's
	Skipped               int
	Probe, Base           *probe.Result
	Views                 []view
	MaskedCos, VisibleCos float64 // mean over the views shown
	Basis                 *pca.Basis
}

// Gap is the difference of the two probes in percentage points, its standard error, and their ratio.
func (d data) Gap() (gap struct{ Points, StdErr, Ratio float64 }) {
	a, b := d.Probe.Best().Test, d.Base.Best().Test
	gap.Points, gap.StdErr = 100*(a.Accuracy-b.Accuracy), 100*math.Hypot(a.StdErr, b.StdErr)
	gap.Ratio = gap.Points / gap.StdErr
	return gap
}

//go:embed report.html
var text string

var reportPage = page.Parse(text, template.FuncMap{
	"percent": func(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) },
	"pct":     func(share float64) float64 { return 100 * share },
})

// Write makes the report at path. dev runs the student once on the views that are shown.
func (j Job) Write(ctx context.Context, dev blas.Device, path string) error {
	d, err := j.collect()
	if err != nil {
		return err
	}
	if d.Views, err = j.views(ctx, dev, &d); err != nil {
		return err
	}
	return page.Write(path, reportPage, d)
}

// collect reads the run's files and the probes.
func (j Job) collect() (d data, err error) {
	d = data{Run: j.Run, Store: j.Targets}
	if d.Checkpoint, err = student.OpenCheckpoint(j.Run); err != nil {
		return d, err
	}
	metrics, err := student.ReadMetrics(j.Run)
	if err != nil {
		return d, err
	}
	d.curves(metrics)
	for file, into := range map[string]**probe.Result{j.Probe: &d.Probe, j.Base: &d.Base} {
		if file == "" {
			continue
		}
		if *into, err = probe.ReadResult(file); err != nil {
			return d, err
		}
	}
	return d, nil
}

// curves fills in what the metrics say.
func (d *data) curves(metrics []student.Metrics) {
	var steps, losses, rates, speeds []float64
	for _, m := range metrics {
		steps, losses, rates, speeds = append(steps, float64(m.Step)), append(losses, m.Loss), append(rates, m.LR), append(speeds, m.ImagesSec)
	}
	d.Steps, d.First, d.Skipped = len(metrics), losses[0], metrics[len(metrics)-1].Skipped
	tail := losses[len(losses)-max(1, len(losses)/20):]
	for _, l := range tail {
		d.Last += l / float64(len(tail))
	}
	slices.Sort(speeds)
	d.Speed = speeds[len(speeds)/2]
	d.Loss = NewChart(steps, losses, 220)
	d.Rate = NewChart(steps, rates, 110)
}

// views lets the student guess all patches of some masked views, and colours its guesses in the teacher's basis.
func (j Job) views(ctx context.Context, dev blas.Device, d *data) ([]view, error) {
	store, err := shards.Open(j.Targets)
	if err != nil {
		return nil, err
	}
	d.Manifest = store.Manifest()
	if d.Manifest.ProducerID != d.Checkpoint.ProducerID {
		return nil, fmt.Errorf("run %s was trained on targets of producer %.12s, store %s has %.12s: give --targets that it was trained on",
			j.Run, d.Checkpoint.ProducerID, j.Targets, d.Manifest.ProducerID)
	}
	index, err := store.Index()
	if err != nil {
		return nil, err
	}
	d.Rows = index.Rows
	size := d.Checkpoint.Recipe.Model.ImageSize
	samples, err := sample.Find(ctx, store, j.Images, sample.Query{Count: j.Views, Size: size})
	if err != nil {
		return nil, err
	}
	masks, guesses, err := guess(dev, d.Checkpoint, samples)
	if err != nil {
		return nil, err
	}
	var all []float32
	for i := range samples {
		pca.Normalize(samples[i].Features, d.Manifest.Dim)
		all = append(all, samples[i].Features...)
	}
	if d.Basis, err = pca.Fit(all, d.Manifest.Dim); err != nil {
		return nil, err
	}
	var out []view
	g, patches := d.Manifest.Grid, d.Manifest.Patches()
	for i, s := range samples {
		mask, features := masks[i*patches:(i+1)*patches], guesses[i*patches*d.Manifest.Dim:(i+1)*patches*d.Manifest.Dim]
		v := view{Key: s.Key, Image: sample.Picture(s.Pixels, size), Teacher: d.Basis.Picture(s.Features, g[0], g[1]), Guess: d.Basis.Picture(features, g[0], g[1])}
		v.Masked = covered(v.Image, mask, g[1])
		fade(v.Guess, mask)
		v.Cosine, v.Visible = cosines(s.Features, features, mask, d.Manifest.Dim)
		d.MaskedCos += v.Cosine / float64(len(samples))
		d.VisibleCos += v.Visible / float64(len(samples))
		out = append(out, v)
	}
	return out, nil
}

// guess runs the checkpoint's student on the masked views: masks [n, P], unit-length features of every patch [n, P, D].
func guess(dev blas.Device, c *student.Checkpoint, samples []sample.Sample) ([]uint8, []float32, error) {
	r := c.Recipe
	masking := r.Masking()
	patches := masking.Grid * masking.Grid
	m := student.NewModel(dev, r.Config(c.TargetDim), student.Options{Compute: blas.F32, Batch: len(samples), LossRows: patches, Loss: student.Loss{Kind: "cosine"}}, r.Train.Seed)
	defer m.Close()
	if err := c.Load(m); err != nil {
		return nil, nil, err
	}
	b := student.Batch{N: len(samples), Mask: make([]uint8, len(samples)*patches), Targets: make([]uint16, len(samples)*patches*c.TargetDim)}
	for i, s := range samples {
		b.Pixels = append(b.Pixels, s.Pixels...)
		masking.Fill(b.Mask[i*patches:(i+1)*patches], r.Train.Seed, uint64(c.Step), uint64(i))
	}
	for i := range len(samples) * patches {
		b.MaskIdx = append(b.MaskIdx, int32(i)) // every patch is asked for, masked or not
	}
	m.Refresh()
	m.Upload(&b)
	wide, err := m.Predict()
	if err != nil {
		return nil, nil, err
	}
	out := make([]float32, len(wide))
	for i, x := range wide {
		out[i] = float32(x)
	}
	pca.Normalize(out, c.TargetDim)
	return b.Mask, out, nil
}

// cosines are the mean cosines of unit-length features a and b [P, dim] over the masked patches, and over the others.
func cosines(a, b []float32, mask []uint8, dim int) (masked, visible float64) {
	sums, counts := [2]float64{}, [2]float64{}
	for p, k := range mask {
		for j := p * dim; j < (p+1)*dim; j++ {
			sums[k] += float64(a[j]) * float64(b[j])
		}
		counts[k]++
	}
	return sums[1] / counts[1], sums[0] / counts[0]
}

// maskColor covers what the student does not see.
var maskColor = color.RGBA{128, 128, 128, 255}

// covered is the image with the masked patches of a grid `across` patches wide painted over.
func covered(m *image.RGBA, mask []uint8, across int) *image.RGBA {
	out := image.NewRGBA(m.Rect)
	copy(out.Pix, m.Pix)
	side := m.Rect.Dx() / across
	for p, hidden := range mask {
		if hidden == 0 {
			continue
		}
		for y := p / across * side; y < (p/across+1)*side; y++ {
			for x := p % across * side; x < (p%across+1)*side; x++ {
				out.SetRGBA(x, y, maskColor)
			}
		}
	}
	return out
}

// fade makes the patches that are not masked three quarters transparent.
func fade(m *image.RGBA, mask []uint8) {
	for p, hidden := range mask {
		if hidden != 0 {
			continue
		}
		for c := range 4 { // colours are premultiplied
			m.Pix[4*p+c] /= 4
		}
	}
}
