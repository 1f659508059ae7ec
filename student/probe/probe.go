package probe

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"mvptargets/blas"
	"mvptargets/internal/progress"
	"mvptargets/student"
)

// Strengths are the values of C that are always tried, from strong regularization to weak. Where the first or last of them is the best, C
// goes on beyond it in steps of ten, until one is worse or weakest or strongest is reached.
var Strengths = []float64{1e-4, 1e-3, 1e-2, 1e-1, 1, 10}

const strongest, weakest = 1e-8, 1e6

// heldOutShare is the part of each class's training images that layer and C are chosen on.
const heldOutShare = 0.2

// Job is one probe.
type Job struct {
	Checkpoint *student.Checkpoint
	Untrained  bool // probe the weights that the run started from
	Train      *Set
	Test       *Set
	Layers     []int // as Model.Features numbers them
	Batch      int   // images in a micro-batch
	DType      blas.DType
	Seed       uint64 // of the held-out part
	Log        *slog.Logger
	Terminal   *os.File
}

// Run extracts the features, chooses C and layer on the held-out part of the training images, trains each layer's classifier with its C
// on all training images and tests it.
func Run(ctx context.Context, dev blas.Device, j Job) (*Result, error) {
	if err := match(j.Train, j.Test); err != nil {
		return nil, err
	}
	fit, held := split(j.Train.labels(), len(j.Train.Classes), j.Seed)
	if len(held) == 0 {
		return nil, fmt.Errorf("%s has no class with two images: nothing can be held out to choose by", j.Train.Path)
	}
	free, err := freeMemory()
	if err != nil {
		return nil, err
	}
	needs := size{len(j.Train.Items), len(j.Test.Items), 2 * j.Checkpoint.Recipe.Model.Width, len(j.Train.Classes), len(j.Layers)}
	parallel, err := needs.fit(free, runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(free))) // or the heap grows to twice what it holds
	train, test, err := j.extract(ctx, dev, needs)
	if err != nil {
		return nil, err
	}
	r := j.result(len(fit), len(held))
	r.Layers = make([]Layer, len(j.Layers))
	errs := make([]error, len(j.Layers))
	bar := progress.New(j.Log, j.Terminal, "classify", int64(len(j.Layers)*len(Strengths)))
	defer bar.Done()
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i := range j.Layers {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			p := problem{dim: needs.dim, classes: len(j.Train.Classes), train: train[i], test: test[i],
				y: j.Train.labels(), yTest: relabel(j.Test, j.Train.Classes)}
			r.Layers[i], errs[i] = p.solve(ctx, fit, held, func() { bar.Add(1) })
			r.Layers[i].Layer = LayerName(j.Layers[i], j.Checkpoint.Recipe.Model.Depth)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", r.Layers[i].Layer, err)
		}
	}
	r.choose()
	return r, nil
}

// extract runs both sets through the encoder.
func (j Job) extract(ctx context.Context, dev blas.Device, needs size) (train, test Features, err error) {
	m := j.Checkpoint.Recipe.Encoder(dev, j.DType, j.Batch, j.Checkpoint.TargetDim)
	defer m.Close()
	m.Refresh()
	free, err := freeMemory()
	if err != nil {
		return nil, nil, err
	}
	if err := needs.beside(free); err != nil {
		return nil, nil, err
	}
	if !j.Untrained {
		if err := j.Checkpoint.Load(m); err != nil {
			return nil, nil, fmt.Errorf("checkpoint %s: %w", j.Checkpoint.Dir(), err)
		}
	}
	bar := progress.New(j.Log, j.Terminal, "encode", int64(len(j.Train.Items)+len(j.Test.Items)))
	defer bar.Done()
	each := func(n int) { bar.Add(int64(n)) }
	if train, err = j.Train.Extract(ctx, m, j.Layers, each); err != nil {
		return nil, nil, err
	}
	test, err = j.Test.Extract(ctx, m, j.Layers, each)
	return train, test, err
}

// split holds out heldOutShare of each class, rounded, but never all of it; both parts are ascending.
func split(y []int32, classes int, seed uint64) (fit, held []int) {
	of := make([][]int, classes)
	for i, label := range y {
		of[label] = append(of[label], i)
	}
	out := make([]bool, len(y))
	for class, rows := range of {
		r := rand.New(rand.NewPCG(seed, uint64(class)))
		n := min(int(math.Round(heldOutShare*float64(len(rows)))), len(rows)-1)
		for _, p := range r.Perm(len(rows))[:max(n, 0)] {
			out[rows[p]] = true
		}
	}
	for i := range y {
		if out[i] {
			held = append(held, i)
		} else {
			fit = append(fit, i)
		}
	}
	return fit, held
}

// relabel gives the set's labels as indices into classes, which has all of its own.
func relabel(s *Set, classes []string) []int32 {
	index := map[string]int32{}
	for i, c := range classes {
		index[c] = int32(i)
	}
	y := s.labels()
	for i, label := range y {
		y[i] = index[s.Classes[label]]
	}
	return y
}

// problem is one layer's: features [n, dim] and labels.
type problem struct {
	dim, classes int
	train, test  []float32
	y, yTest     []int32
}

// solve tries every C on the held-out rows, refits the best (the strongest of equals) on all training rows, and tests it. each is called
// for each of Strengths.
func (p problem) solve(ctx context.Context, fit, held []int, each func()) (Layer, error) {
	l, model, err := p.chooseC(ctx, fit, held, each)
	if err != nil {
		return l, err
	}
	all := every(len(p.y))
	s := FitStandardizer(p.train, p.dim, all)
	trainer, err := NewTrainer(s.Apply(p.train, all), p.y, p.dim, p.classes)
	if err != nil {
		return l, err
	}
	model, err = trainer.Fit(l.C, model)
	if err != nil {
		return l, err
	}
	l.Test = accuracy(model.Predict(s.Apply(p.test, every(len(p.yTest)))), p.yTest)
	return l, nil
}

// chooseC trains on the rows of fit with each C, compares on those of held, and gives the best model too.
func (p problem) chooseC(ctx context.Context, fit, held []int, each func()) (l Layer, best *Logistic, err error) {
	s := FitStandardizer(p.train, p.dim, fit)
	trainer, err := NewTrainer(s.Apply(p.train, fit), pick(p.y, fit), p.dim, p.classes)
	if err != nil {
		return l, nil, err
	}
	xHeld, yHeld := s.Apply(p.train, held), pick(p.y, held)
	var last *Logistic
	try := func(c float64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if last, err = trainer.Fit(c, last); err != nil {
			return err
		}
		tried := Tried{c, accuracy(last.Predict(xHeld), yHeld)}
		if d := tried.HeldOut.Accuracy - l.HeldOut.Accuracy; best == nil || d > 0 || d == 0 && c < l.C {
			l.C, l.HeldOut, best = c, tried.HeldOut, last
		}
		l.Tried = append(l.Tried, tried)
		return nil
	}
	for _, c := range Strengths {
		if err := try(c); err != nil {
			return l, nil, err
		}
		each()
	}
	for c := Strengths[len(Strengths)-1]; l.C == c && c < weakest; {
		c *= 10
		if err := try(c); err != nil {
			return l, nil, err
		}
	}
	last = nil
	for c := Strengths[0]; l.C == c && c > strongest; {
		c /= 10
		if err := try(c); err != nil {
			return l, nil, err
		}
	}
	slices.SortFunc(l.Tried, func(a, b Tried) int { return cmp.Compare(a.C, b.C) })
	return l, best, nil
}

func pick(y []int32, rows []int) []int32 {
	out := make([]int32, len(rows))
	for i, r := range rows {
		out[i] = y[r]
	}
	return out
}

func every(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
