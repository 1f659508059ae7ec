package extract

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/cpu"

	"mvptargets/shards/view"
)

// A row's bytes depend on its view alone: the same images under other names, so in another order, with other neighbours, at other
// places of a batch and in a last batch that is not full, give the same rows, whatever computes them.
func TestARowDoesNotDependOnItsNeighbours(t *testing.T) {
	scenes, err := filepath.Glob("../testdata/scenes/test/*/*.jpg")
	if err != nil || len(scenes) < 29 {
		t.Fatalf("%d scenes, %v", len(scenes), err)
	}
	// folder links the scenes, each under a name that salt makes.
	folder := func(salt string, scenes []string) string {
		dir := t.TempDir()
		for i, s := range scenes {
			target, err := filepath.Abs(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, filepath.Join(dir, fmt.Sprint(salt, i, ".jpg"))); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, how := range [][2]string{{"cpu", "f32"}, {"openvino", "f32"}, {"openvino", "bf16"}} {
		t.Run(how[0]+" "+how[1], func(t *testing.T) {
			if how[1] == "bf16" && !cpu.X86.HasAVX512BF16 && !cpu.X86.HasAMXBF16 {
				t.Skip("this processor has no bf16 instructions")
			}
			var want []string
			for i, images := range []string{folder("a", scenes[:29]), folder("b", scenes[:29]), folder("c", scenes[:18])} {
				c := config(t, images)
				c.Model, c.Policy, c.Views, c.Batch, c.Provider, c.Precision = "../testdata/teacher/teacher.onnx", view.NewRRC(0.2, 5), 1, 8, how[0], how[1]
				extract(t, c)
				got := contents(rows(t, c.Store))
				switch {
				case i == 0:
					want = got
				case i == 1 && !slices.Equal(got, want):
					t.Errorf("shuffled: %d of %d rows are the same", common(got, want), len(want))
				case common(got, want) != len(got):
					t.Errorf("%d images: %d of %d rows are those of all images together", len(got), common(got, want), len(got))
				}
			}
		})
	}
}

// common counts what two sorted lists share.
func common(a, b []string) int {
	n := 0
	for _, s := range a {
		if _, ok := slices.BinarySearch(b, s); ok {
			n++
		}
	}
	return n
}
