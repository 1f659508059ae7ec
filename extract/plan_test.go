package extract

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mvptargets/shards/view"
)

// listing is every file below dir with its size and time.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		b.WriteString(path + " " + info.ModTime().String() + " " + info.Mode().String() + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAPlanIsWhatRunDoesAndWritesNothing(t *testing.T) {
	images := pictures(t, 60)
	if err := os.Symlink("nowhere.jpg", filepath.Join(images, "cat", "dangling.jpg")); err != nil {
		t.Fatal(err)
	}
	c := config(t, images)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	c.Policy, c.Views, c.MaxRejectFraction = view.NewRRC(0.2, 3), 2, 1
	plan := func() Plan {
		t.Helper()
		p, err := MakePlan(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := plan()
	if _, err := os.Stat(c.Store); !os.IsNotExist(err) {
		t.Errorf("the plan made %s (%v)", c.Store, err)
	}
	if p.Found != 61 || p.Images != 61 || p.Bad != 1 || p.Views != 120 || p.Reused != 0 || p.Rate <= 0 || p.Sample == 0 || p.RowBytes != 17*16*2 {
		t.Errorf("new store: %+v", p)
	}
	c.Part = Part{0, 2}
	half := plan()
	did := extract(t, c)
	if half.Views != did.Views || half.Images != did.Images {
		t.Errorf("planned %+v, did %+v", half, did)
	}
	// On a sample this small the files' fixed parts weigh much: a store of twice the rows has less per row.
	if per := half.Sizes[0].PerView; per < did.RowBytes*0.7 || per > did.RowBytes*1.5 {
		t.Errorf("planned %.0f bytes per view, took %.0f", per, did.RowBytes)
	}
	before := listing(t, c.Store)
	c.Part = Part{0, 1}
	if p := plan(); p.Views != 120-did.Views || p.Reused != did.Views {
		t.Errorf("after half of the work: %+v", p)
	}
	extractAll := extract(t, c)
	before2 := listing(t, c.Store)
	if before == before2 || extractAll.Reused != did.Views {
		t.Errorf("the rest: %+v", extractAll)
	}
	if p := plan(); p.Views != 0 || p.Reused != 120 || strings.Contains(p.String(), "rate") {
		t.Errorf("nothing to do: %+v", p)
	}
	if after := listing(t, c.Store); after != before2 {
		t.Errorf("the plan changed the store:\n%s\n%s", before2, after)
	}
	if left := listing(t, temp); strings.Count(left, "\n") != 1 {
		t.Errorf("left behind: %s", left)
	}
	c.Policy = view.NewRRC(0.5, 3)
	if _, err := MakePlan(context.Background(), c); err == nil || !strings.Contains(err.Error(), "policy") {
		t.Errorf("a store of another producer: %v", err)
	}
}

func TestPlanAsText(t *testing.T) {
	p := Plan{Part: Part{1, 8}, Found: 1281167, Images: 160000, Bad: 3, Views: 320000, Reused: 5, RowBytes: 200704, Rate: 20, Sample: 200, Sizes: []EncodedSize{{"f16", 187000, 1}, {"i8", 94000, 0.99991}}}
	for _, want := range []string{"1281167 found; 160000 in part 1/8", "3 images cannot be read", "320000 to compute, 5 reused", "64.2 GB as 200704", "59.8 GB as 187000 per view\n", "30.1 GB as 94000 per view; least cosine of a patch to the teacher's 0.999910\n", "20 views/s, measured on 200", "4.4 hours"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("no %q in\n%s", want, p)
		}
	}
}
