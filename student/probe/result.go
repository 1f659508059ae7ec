package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"text/tabwriter"

	"mvptargets/internal/atomicfile"
)

// Accuracy is a share of N images with its standard error, √(p(1-p)/N).
type Accuracy struct {
	Accuracy float64 `json:"accuracy"`
	StdErr   float64 `json:"standard_error"`
	N        int     `json:"n"`
}

func (a Accuracy) String() string {
	return fmt.Sprintf("%.1f ± %.1f %%", 100*a.Accuracy, 100*a.StdErr)
}

// accuracy compares predictions with labels.
func accuracy(predicted, y []int32) Accuracy {
	right := 0
	for i := range y {
		if predicted[i] == y[i] {
			right++
		}
	}
	n := float64(len(y))
	p := float64(right) / n
	return Accuracy{p, math.Sqrt(p * (1 - p) / n), len(y)}
}

// Tried is one C with its accuracy on the held-out images.
type Tried struct {
	C       float64  `json:"c"`
	HeldOut Accuracy `json:"held_out"`
}

// Layer is what the probe found at one layer.
type Layer struct {
	Layer   string   `json:"layer"` // the block's number from 1, or norm
	C       float64  `json:"c"`     // chosen on the held-out images
	HeldOut Accuracy `json:"held_out"`
	Test    Accuracy `json:"test"`
	Tried   []Tried  `json:"tried"`
}

// Result is probe.json.
type Result struct {
	Checkpoint string   `json:"checkpoint"`
	Untrained  bool     `json:"untrained"` // the weights were those that the run starts from
	Step       int      `json:"step"`      // 0 where untrained
	ProducerID string   `json:"producer_id"`
	Train      string   `json:"train"`
	Test       string   `json:"test"`
	NTrain     int      `json:"n_train"`
	NHeldOut   int      `json:"n_held_out"` // of n_train
	NTest      int      `json:"n_test"`
	Classes    []string `json:"classes"`
	Chance     Accuracy `json:"chance"` // always the commonest class of the training images
	Seed       uint64   `json:"seed"`   // of the held-out part
	DType      string   `json:"dtype"`
	ModelSeed  uint64   `json:"model_seed"` // that the student's weights were drawn by
	Layers     []Layer  `json:"layers"`
	Chosen     int      `json:"chosen"` // index into layers, by held-out accuracy
}

func (j Job) result(fit, held int) *Result {
	r := &Result{Checkpoint: j.Checkpoint.Dir(), Untrained: j.Untrained, Step: j.Checkpoint.Step, ProducerID: j.Checkpoint.ProducerID, Train: j.Train.Path,
		Test: j.Test.Path, NTrain: fit + held, NHeldOut: held, NTest: len(j.Test.Items), Classes: j.Train.Classes, Seed: j.Seed,
		DType: j.DType.String(), ModelSeed: j.Checkpoint.Recipe.Train.Seed}
	if j.Untrained {
		r.Step = 0
	}
	commonest := int32(0)
	count := j.Train.count()
	for class, n := range count {
		if n > count[commonest] {
			commonest = int32(class)
		}
	}
	y := relabel(j.Test, j.Train.Classes)
	always := make([]int32, len(y))
	for i := range always {
		always[i] = commonest
	}
	r.Chance = accuracy(always, y)
	return r
}

// choose takes the layer with the best held-out accuracy, the first of equals.
func (r *Result) choose() {
	for i, l := range r.Layers {
		if l.HeldOut.Accuracy > r.Layers[r.Chosen].HeldOut.Accuracy {
			r.Chosen = i
		}
	}
}

// Best is the chosen layer.
func (r *Result) Best() Layer { return r.Layers[r.Chosen] }

// Print writes the table that a user reads.
func (r *Result) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "layer\tC\theld out (%d)\ttest (%d)\t\n", r.NHeldOut, r.NTest)
	for i, l := range r.Layers {
		mark := ""
		if i == r.Chosen {
			mark = "<- chosen by the held-out images"
		}
		fmt.Fprintf(w, "%s\t%g\t%v\t%v\t%s\n", l.Layer, l.C, l.HeldOut, l.Test, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	kind := fmt.Sprintf("trained for %d steps", r.Step)
	if r.Untrained {
		kind = "untrained"
	}
	_, err := fmt.Fprintf(out, "probe accuracy, %s: %v of %d test images in %d classes (always the commonest: %.1f %%)\n",
		kind, r.Best().Test, r.NTest, len(r.Classes), 100*r.Chance.Accuracy)
	return err
}

// Write publishes the result as JSON.
func (r *Result) Write(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(raw, '\n'), 0o644)
}

// ReadResult reads what Write wrote.
func ReadResult(path string) (*Result, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read probe: %w", err)
	}
	r := &Result{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s is no probe's result: %w", path, err)
	}
	if r.Chosen < 0 || r.Chosen >= len(r.Layers) {
		return nil, fmt.Errorf("%s is no probe's result: layer %d of %d was chosen; make it with mvp-eval probe --out", path, r.Chosen, len(r.Layers))
	}
	return r, nil
}
