package student

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/blas"
	"mvptargets/blas/cuda"
	"mvptargets/blas/ref"
	"mvptargets/student/studenttest"
)

// issueGolden issues one whole step, its batch uploaded again as a run does.
func issueGolden(m *Model, b *Batch) (wait func() (StepResult, error)) {
	m.BeginStep()
	m.Upload(b)
	m.MicroStep()
	m.EndStep(Optimizer{Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, MaxNorm: 1}, 2e-3, 0.05)
	return m.Figures()
}

// goldenStep is issueGolden and its result.
func goldenStep(t *testing.T, m *Model, b *Batch) StepResult {
	t.Helper()
	r, err := issueGolden(m, b)()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Twenty steps in bf16 on the emulated GPU and on ref: the losses stay within what bf16 leaves, 2^-8 of each product rounded in another
// place, and from the third step on, when all is captured, a step allocates nothing, waits once and launches three graphs. That wait is
// for the step before: the GPU still has all of a step to do when it is over.
func TestTrainsOnTheEmulatedGPUAsOnRef(t *testing.T) {
	card, steer := gpu(t)
	m, _ := goldenModelOn(t, card, blas.BF16)
	defer m.Close()
	twin, _ := goldenModelOn(t, ref.New(), blas.BF16)
	defer twin.Close()
	b := goldenBatch(t)
	var first, last, worst float64
	before := map[string]int{}
	wait := issueGolden(m, b)
	for step := range 20 {
		if step == 3 {
			for call := range steady {
				before[call] = steer.Count(call)
			}
		}
		ahead := issueGolden(m, b)
		got, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		if pending := steer.Pending(); pending < 100 {
			t.Errorf("step %d: %d operations of the next are still to be done", step, pending)
		}
		wait = ahead
		want := goldenStep(t, twin, b)
		worst = math.Max(worst, math.Abs(got.Loss-want.Loss)/want.Loss)
		if got.Applied != step+1 || got.Skipped != 0 {
			t.Fatalf("step %d: %+v", step, got)
		}
		if last = got.Loss; step == 0 {
			first = got.Loss
		}
	}
	t.Logf("loss %.4f to %.4f, at most %.2g from ref", first, last, worst)
	if worst > 1e-2 || last > 0.9*first {
		t.Errorf("loss goes from %.4f to %.4f and is up to %.2g from ref's", first, last, worst)
	}
	for call, want := range steady {
		n := steer.Count(call) - before[call]
		t.Logf("%-26s %d in 17 steps", call, n)
		if n != 17*want {
			t.Errorf("%s was called %d times in 17 steps, want %d a step", call, n, want)
		}
	}
	if _, err := wait(); err != nil {
		t.Error(err)
	}
}

// The same on the machine's own GPU, where there is one, and the golden model of PyTorch in float32.
func TestTrainsOnThisGPUAsOnRef(t *testing.T) {
	if gpus, _, err := cuda.List(); err != nil || len(gpus) == 0 {
		t.Skip("no GPU: ", err)
	}
	card, err := cuda.New()
	if err != nil {
		t.Fatal(err)
	}
	defer card.Close()
	exact, g := goldenModelOn(t, card, blas.F32)
	defer exact.Close()
	exact.BeginStep()
	exact.MicroStep()
	exact.finishGradients()
	for name, want := range g {
		if p, ok := strings.CutPrefix(name, "grad."); ok {
			if e := relative(get(t, exact, exact.grad(p)), want); !(e <= 2e-5) {
				t.Errorf("gradient of %s differs from PyTorch's by %.2g", p, e)
			}
		}
	}
	m, _ := goldenModelOn(t, card, blas.BF16)
	defer m.Close()
	twin, _ := goldenModelOn(t, ref.New(), blas.BF16)
	defer twin.Close()
	b := goldenBatch(t)
	for step := range 20 {
		if got, want := goldenStep(t, m, b).Loss, goldenStep(t, twin, b).Loss; math.Abs(got-want) > 1e-2*want {
			t.Errorf("step %d: loss %.5f, ref's is %.5f", step, got, want)
		}
	}
}

// steady is what a step of one micro-batch calls of the driver: six uploads (pixels, mask, rows, targets, drop path factors and
// hyper-parameters), three graphs, one copy of the figures and one wait for those of the step before.
var steady = map[string]int{
	"cuMemAlloc_v2": 0, "cuMemAllocAsync": 0, "cuMemHostAlloc": 0, "cuMemFree_v2": 0, "cuMemFreeAsync": 0, "cuLaunchKernel": 0,
	"cuEventSynchronize": 1, "cuStreamSynchronize": 0, "cuMemcpyDtoHAsync_v2": 1, "cuMemcpyHtoDAsync_v2": 6, "cuMemcpyDtoDAsync_v2": 6,
	"cuGraphLaunch": 3, "cuModuleLoadData": 0, "cuStreamBeginCapture_v2": 0,
}

// gpuJob is a short run on made-up data.
func gpuJob(t *testing.T, settings ...string) Job {
	t.Helper()
	images, store := studenttest.Data(t, 20, 1)
	path := filepath.Join(t.TempDir(), "recipe.toml")
	if err := os.WriteFile(path, []byte(studenttest.Recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	recipe, err := ReadRecipe(path, append(settings, `train.dtype="bf16"`))
	if err != nil {
		t.Fatal(err)
	}
	return Job{Recipe: recipe, Targets: store, Images: images, Run: filepath.Join(t.TempDir(), "run"), SaveEvery: SaveEvery{Steps: 2}, Keep: 2,
		Log: slog.New(slog.DiscardHandler)}
}

// A device that fails ends the run with a line that says which call, what the driver said and where to go on; the checkpoint is whole
// and another device continues from it.
func TestFailingGPULeavesACheckpoint(t *testing.T) {
	for _, c := range []struct {
		name, call string
		nth, code  int
		want       []string
	}{
		{"graph", "cuGraphLaunch", 20, 719, []string{"cuGraphLaunch failed", "CUDA_ERROR_LAUNCH_FAILED", "context is lost"}},
		{"copy", "cuMemcpyHtoDAsync_v2", 120, 1, []string{"upload: cuMemcpyHtoDAsync failed", "CUDA_ERROR_INVALID_VALUE"}},
		{"lost at the wait", "cuEventSynchronize", 8, 700, []string{"fetch: cuEventSynchronize after program end step", "CUDA_ERROR_ILLEGAL_ADDRESS", "MVP_CUDA_SYNC=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			card, steer := gpu(t)
			j := gpuJob(t)
			steer.Fail(c.call, c.nth, c.code)
			_, err := Train(context.Background(), card, j)
			if err == nil {
				t.Fatal("the run did not fail")
			}
			for _, want := range append(c.want, j.Run, "checkpoint", "--resume") {
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("no %q in %q", want, err)
				}
			}
			j.Resume = true
			s, err := Train(context.Background(), ref.New(), j)
			if err != nil {
				t.Fatal(err)
			}
			if s.Steps != 15 || !(s.Loss > 0) {
				t.Errorf("continued to %+v", s)
			}
		})
	}
}

// No room for the model: the line says for what, how much there is, and the largest micro-batch that fits.
func TestNoRoomNamesTheBatchThatFits(t *testing.T) {
	card, steer := gpu(t)
	j := gpuJob(t, "train.epochs=1", "optimizer.warmup_epochs=0")
	c := j.Recipe.Config(studenttest.Dim)
	o := Options{Compute: blas.BF16, LossRows: j.Recipe.Mask.Count, Masked: j.Recipe.Mask.Count, DropPath: j.Recipe.Model.DropPath > 0, Batch: 2}
	steer.Capacity(steer.Capacity(0) - steer.Room() + Footprint(c, o)*21/19)
	_, err := Train(context.Background(), card, j)
	if err == nil {
		t.Fatal("a model that is larger than the device was built")
	}
	t.Log(err)
	for _, want := range []string{"out of memory", "MiB", "free", "set train.micro_batch to 2 or less"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %q", want, err)
		}
	}
	j.Recipe.Train.MicroBatch = 2
	if s, err := Train(context.Background(), card, j); err != nil || s.Steps != 5 {
		t.Errorf("with that micro-batch: %+v, %v", s, err)
	}
}

// Two runs from one seed on the emulated GPU, the blocks of each kernel in one order and in the other, tell the same to the last bit.
func TestTrainsTheSameTwiceOnTheEmulatedGPU(t *testing.T) {
	j := gpuJob(t, "train.epochs=1", "optimizer.warmup_epochs=0")
	var runs [2][]Metrics
	for i := range runs {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			card, _ := gpu(t) // which resets it: the other order
			j.Run = filepath.Join(t.TempDir(), "run")
			_, err := Train(context.Background(), card, j)
			if err == nil {
				runs[i], err = ReadMetrics(j.Run)
			}
			if err != nil || len(runs[i]) != 5 {
				t.Fatalf("%d steps, %v", len(runs[i]), err)
			}
		})
	}
	for i, a := range runs[0] {
		if b := runs[1][i]; a.Loss != b.Loss || a.Norm != b.Norm {
			t.Errorf("step %d: loss %v and %v, norm %v and %v", a.Step, a.Loss, b.Loss, a.Norm, b.Norm)
		}
	}
}
