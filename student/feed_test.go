package student_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mvptargets/shards"
	"mvptargets/student"
	"mvptargets/student/studenttest"
)

func tinyRecipe(t *testing.T, settings ...string) student.Recipe {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.toml")
	if err := os.WriteFile(path, []byte(studenttest.Recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := student.ReadRecipe(path, settings)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func loader(t *testing.T, r student.Recipe, images, store string) *student.Loader {
	t.Helper()
	s, err := shards.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	l, err := student.NewLoader(r, s, images)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What comes ahead of time, into buffers used again, is what a fresh loader gives for that step alone.
func TestFeedGivesWhatLoadGives(t *testing.T) {
	images, store := studenttest.Data(t, 20, 1)
	r := tinyRecipe(t, "model.drop_path=0.1")
	l := loader(t, r, images, store)
	first, last := l.StepsPerEpoch()-2, 2*l.StepsPerEpoch()+1 // over two ends of an epoch
	feed := l.Feed(first, last)
	defer feed.Close()
	for step := first; step < last; step++ {
		for micro := range 2 {
			got, err := feed.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var want student.Batch
			fresh := loader(t, r, images, store)
			for m := range micro + 1 {
				if err := fresh.Load(&want, step, m); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(*got, want) {
				t.Fatalf("step %d, micro-batch %d differs", step, micro)
			}
		}
	}
}

func TestFeedFailsAtTheStepWhoseImageIsGone(t *testing.T) {
	images, store := studenttest.Data(t, 20, 1)
	l := loader(t, tinyRecipe(t), images, store)
	gone := "class1/0007.jpg"
	if err := os.Remove(filepath.Join(images, gone)); err != nil {
		t.Fatal(err)
	}
	last := 2 * l.StepsPerEpoch()
	feed := l.Feed(0, last)
	defer feed.Close()
	var failed error
	n := 0
	for ; n < 2*last && failed == nil; n++ {
		_, failed = feed.Next(context.Background())
	}
	if failed == nil || !strings.Contains(failed.Error(), gone) {
		t.Errorf("after %d micro-batches: %v", n, failed)
	}
}

func TestFeedClosesWhileItLoads(t *testing.T) {
	images, store := studenttest.Data(t, 20, 1)
	l := loader(t, tinyRecipe(t), images, store)
	for n := range 4 {
		feed := l.Feed(0, 100)
		for range n {
			if _, err := feed.Next(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		feed.Close()
	}
}
