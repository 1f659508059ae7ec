package extract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mvptargets/extract/teacher"
	"mvptargets/internal/source"
	"mvptargets/shards"
)

// scan lists the part's images in the order of their keys' hashes. Of images with the same key the first counts.
func (r *run) scan(ctx context.Context) ([]task, error) {
	var tasks []task
	err := r.from.Scan(ctx, func(i source.Item) error {
		r.found++
		if i.Err == nil && len(i.Key) > shards.MaxKeyBytes {
			i.Err = fmt.Errorf("its name has %d bytes, more than %d", len(i.Key), shards.MaxKeyBytes)
		}
		if order := placeOf(i); r.Part.has(order) {
			tasks = append(tasks, task{key: i.Key, label: i.Label, size: i.Size, mtime: i.MTime, run: i.Run, order: order, err: i.Err})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.found == 0 {
		return nil, fmt.Errorf("%s holds no images: no file with a known ending (.jpg, .jpeg, .png, ...) in it; tar files are given themselves, as DIR/*.tar", r.Images)
	}
	slices.SortStableFunc(tasks, func(a, b task) int {
		if a.order != b.order {
			if a.order < b.order {
				return -1
			}
			return 1
		}
		if a.key < b.key {
			return -1
		} else if a.key > b.key {
			return 1
		}
		return 0
	})
	tasks = slices.CompactFunc(tasks, func(a, b task) bool { return a.key == b.key })
	r.sum.Images = int64(len(tasks))
	return tasks, nil
}

// reuse gives each task the views that are still to compute and drops those without any.
func (r *run) reuse(tasks []task) []task {
	all := make([]uint16, r.Views)
	for v := range all {
		all[v] = uint16(v)
	}
	todo := tasks[:0]
	for _, t := range tasks {
		t.views = all
		if image, ok := r.known(t); ok {
			t.views = nil
			for _, v := range all {
				if !r.index.Has(shards.Identity{Key: t.key, Image: image, View: v}) {
					t.views = append(t.views, v)
				}
			}
			r.sum.Reused += int64(r.Views - len(t.views))
		}
		if len(t.views) > 0 {
			todo = append(todo, t)
		}
	}
	return todo
}

// known gives the digest of an image that is in the store with this size and time.
func (r *run) known(t task) ([32]byte, bool) {
	if r.Rehash || t.err != nil {
		return [32]byte{}, false
	}
	return r.index.Known(t.key, t.size, t.mtime)
}

// manifest describes the store that the job writes to, and gives the one that is there already, if any. That one knows the layout of
// its rows; for a new one the model may have to be opened to learn it.
func (r *run) manifest(ctx context.Context) (shards.Manifest, *shards.Store, error) {
	m := shards.Manifest{Producer: r.producer(), Classes: r.from.Classes()}
	existing, err := r.existing()
	if err != nil {
		return m, nil, err
	}
	if existing != nil {
		old := existing.Manifest()
		m.Grid, m.Dim, m.CLS = old.Grid, old.Dim, old.CLS
		if len(m.Classes) > 0 && len(old.Classes) > 0 && !slices.Equal(m.Classes, old.Classes) {
			return m, nil, fmt.Errorf("store %s was made from images of other classes (%d, first %s) than %s has (%d, first %s); choose another --out",
				r.Store, len(old.Classes), old.Classes[0], r.Images, len(m.Classes), m.Classes[0])
		}
		return m, existing, existing.Fits(m)
	}
	if err := r.openSession(ctx); err != nil {
		return m, nil, err
	}
	s := r.session
	m.Grid, m.Dim, m.CLS = [2]int{s.Grid, s.Grid}, s.Dim, s.HasCLS()
	return m, nil, nil
}

// existing opens the store if the folder holds one already; nil if not.
func (r *run) existing() (*shards.Store, error) {
	if _, err := os.Stat(filepath.Join(r.Store, "store.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return shards.Open(r.Store)
}

// producer is everything that determines a feature's value.
func (r *run) producer() shards.Producer {
	p := shards.Producer{
		Features:  r.feature.Name,
		GraphEdit: r.feature.GraphEdit(),
		Precision: r.Precision,
		Size:      r.model.Size,
		Resize:    resizeRule,
		Mean:      r.model.Mean,
		Std:       r.model.Std,
		Decoder:   r.decoder.Family(),
		Policy:    r.Policy,
		Encoding:  cmp.Or(r.Encoding, shards.EncodingF16),
	}
	for _, f := range r.model.Files {
		p.Model = append(p.Model, shards.FileDigest{Name: f.Name, SHA256: f.SHA256})
	}
	return p
}

// resizeRule names how shards/view resizes: Pillow's bicubic filter with antialiasing, 8 bit between the passes.
const resizeRule = "pillow-bicubic"

// openSession opens the teacher, once.
func (r *run) openSession(ctx context.Context) error {
	if r.session != nil {
		return nil
	}
	o := teacher.Options{Provider: r.Provider, Precision: r.Precision, Batch: r.Batch, Threads: r.Threads, GPU: r.GPU}
	if o.Provider == teacher.Auto {
		chosen, err := teacher.Choose(ctx, r.Log, r.model, r.feature, o)
		if err != nil {
			return err
		}
		o.Provider = chosen
	}
	s, err := r.model.Open(r.feature, o)
	if err != nil {
		return err
	}
	if n := s.Registers(); n > 0 {
		r.Log.Info("register tokens are dropped", "registers", n)
	}
	r.session, r.library = s, s.Runtime()+", "+o.Provider
	return nil
}
