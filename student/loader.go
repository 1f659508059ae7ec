package student

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"mvptargets/internal/source"
	"mvptargets/shards"
	"mvptargets/shards/view"
)

// rowRef is a row of the store: the number of its record batch in the index, and its place there.
type rowRef struct{ batch, row int }

// epochOrder draws the order of an epoch: the store's record batches are permuted, and rows are drawn from a window of them, each from
// a random one of the window's. Rows that are neighbours in the store are thus spread over window x batch rows.
func epochOrder(rows []int, window int, seed, epoch uint64) []rowRef {
	r := stream(seed, drawOrder, epoch, 0)
	waiting := r.Perm(len(rows))
	var open [][]rowRef
	var out []rowRef
	for len(waiting) > 0 || len(open) > 0 {
		for len(open) < window && len(waiting) > 0 {
			b := waiting[0]
			waiting = waiting[1:]
			refs := make([]rowRef, rows[b])
			for i, p := range r.Perm(rows[b]) {
				refs[i] = rowRef{b, p}
			}
			if len(refs) > 0 {
				open = append(open, refs)
			}
		}
		if len(open) == 0 {
			break
		}
		i := r.IntN(len(open))
		out = append(out, open[i][0])
		if open[i] = open[i][1:]; len(open[i]) == 0 {
			open = append(open[:i], open[i+1:]...)
		}
	}
	return out
}

// windowBatches is W, the record batches that are held decoded: 64 of 16 rows mix about a thousand rows.
const windowBatches = shards.Window

// Loader replays the store's views: pixels rendered again from the images, targets from the shards. What it loads is a function of the
// recipe, the store, the step and the micro-batch. It belongs to one goroutine and uses all cores.
type Loader struct {
	recipe   Recipe
	manifest shards.Manifest
	index    *shards.Index
	reader   *shards.Reader
	images   source.Source
	decoder  view.Decoder
	depth    int

	epoch uint64
	order []rowRef
	held  map[int]*shards.Batch
	uses  map[int]int // rows of a held or coming batch still to be drawn

	spare []*shards.Batch // to be read into
	rows  []*shards.Batch // of each sample of the micro-batch
	files [][]byte        // room for an image's file, one per worker
}

// NewLoader opens the images that a store was made from. The store must fit the recipe's grid, and its decoder must be here.
func NewLoader(r Recipe, store *shards.Store, images string) (*Loader, error) {
	m := store.Manifest()
	if g := r.Config(m.Dim).Grid(); m.Grid != [2]int{g, g} {
		return nil, fmt.Errorf("store %s has a grid of %v patches, the recipe's student %dx%d: set model.image_size and model.patch_size to fit", store.Dir(), m.Grid, g, g)
	}
	l := &Loader{recipe: r, manifest: m, reader: store.Reader(), depth: r.Model.Depth, epoch: ^uint64(0)}
	var err error
	if l.decoder, err = view.NewDecoderFamily(m.Producer.Decoder); err != nil {
		return nil, err
	}
	if l.images, err = source.Open(images); err != nil {
		return nil, err
	}
	if l.index, err = store.Index(); err != nil {
		return nil, err
	}
	if l.StepsPerEpoch() == 0 {
		return nil, fmt.Errorf("store %s holds %d rows, fewer than one batch of %d", store.Dir(), l.index.Rows, r.Train.Batch)
	}
	return l, nil
}

// StepsPerEpoch counts full batches; the rest of an epoch is left out.
func (l *Loader) StepsPerEpoch() int {
	n := 0
	for _, b := range l.index.Batches {
		n += b.Rows
	}
	return n / l.recipe.Train.Batch
}

// Load fills b with micro-batch micro of step, both counted from 0. Within an epoch it must be called in their order.
func (l *Loader) Load(b *Batch, step, micro int) error {
	perEpoch := l.StepsPerEpoch()
	size := l.recipe.Train.MicroBatch
	at := step%perEpoch*l.recipe.Train.Batch + micro*size
	l.startEpoch(uint64(step/perEpoch), at)
	refs := l.order[at : at+size]
	l.resize(b)
	b.MaskIdx, b.Targets = b.MaskIdx[:0], b.Targets[:0]
	l.rows = l.rows[:0]
	var done []*shards.Batch
	for n, ref := range refs {
		rows, err := l.hold(ref.batch)
		if err != nil {
			return err
		}
		l.rows = append(l.rows, rows)
		l.targets(b, rows, ref.row, n, uint64(step), uint64(micro*size+n))
		if l.uses[ref.batch]--; l.uses[ref.batch] == 0 {
			delete(l.held, ref.batch)
			done = append(done, rows)
		}
	}
	err := l.pixels(b, refs)
	l.spare = append(l.spare, done...)
	return err
}

// startEpoch draws the order of an epoch unless it is the one at hand; rows before at are not wanted any more.
func (l *Loader) startEpoch(epoch uint64, at int) {
	if l.epoch == epoch {
		return
	}
	rows := make([]int, len(l.index.Batches))
	for i, b := range l.index.Batches {
		rows[i] = b.Rows
	}
	l.epoch, l.order = epoch, epochOrder(rows, windowBatches, l.recipe.Train.Seed, epoch)
	for _, b := range l.held { // with the rows that made no full batch
		l.spare = append(l.spare, b)
	}
	l.held, l.uses = map[int]*shards.Batch{}, map[int]int{}
	for _, ref := range l.order[at:] {
		l.uses[ref.batch]++
	}
}

func (l *Loader) hold(batch int) (*shards.Batch, error) {
	if b := l.held[batch]; b != nil {
		return b, nil
	}
	b := &shards.Batch{}
	if n := len(l.spare); n > 0 {
		b, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	if err := l.reader.ReadBatch(l.index.Batches[batch], b); err != nil {
		return nil, err
	}
	l.held[batch] = b
	return b, nil
}

func (l *Loader) resize(b *Batch) {
	c := l.recipe.Config(l.manifest.Dim)
	if n := l.recipe.Train.MicroBatch; b.N != n {
		b.N = n
		b.Pixels = make([]uint8, n*c.ImageSize*c.ImageSize*3)
		b.Mask = make([]uint8, n*c.Patches())
		if l.recipe.Model.DropPath > 0 {
			b.Keep = make([]float32, 2*l.depth*n)
		}
	}
}

// targets draws sample n's mask and drop path and gathers the features of the masked patches.
func (l *Loader) targets(b *Batch, rows *shards.Batch, row, n int, step, sample uint64) {
	patches, dim, seed := l.manifest.Patches(), l.manifest.Dim, l.recipe.Train.Seed
	mask := b.Mask[n*patches : (n+1)*patches]
	l.recipe.Masking().Fill(mask, seed, step, sample)
	features := rows.Patches[row*patches*dim:]
	for p, masked := range mask {
		if masked != 0 {
			b.MaskIdx = append(b.MaskIdx, int32(n*patches+p))
			b.Targets = append(b.Targets, features[p*dim:(p+1)*dim]...)
		}
	}
	if b.Keep != nil {
		FillKeep(b.Keep, n, b.N, l.depth, l.recipe.Model.DropPath, seed, step, sample)
	}
}

// pixels renders the recorded views of l.rows on all cores; the first error in the order of the samples is returned.
func (l *Loader) pixels(b *Batch, refs []rowRef) error {
	workers := min(runtime.GOMAXPROCS(0), len(refs))
	for len(l.files) < workers {
		l.files = append(l.files, nil)
	}
	errs := make([]error, len(refs))
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(refs); n = int(next.Add(1)) - 1 {
				l.files[w], errs[n] = l.render(b, l.files[w], l.rows[n], refs[n].row, n)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// render writes one view's pixels. The file's digest must be the one that the teacher saw.
func (l *Loader) render(b *Batch, buf []byte, rows *shards.Batch, row, n int) ([]byte, error) {
	key := rows.Key[row]
	data, err := l.images.Read(buf, key)
	if err != nil {
		return buf, fmt.Errorf("image %s of the store: %w; --images must be what the store was made from", key, err)
	}
	if sha256.Sum256(data) != rows.Image[row] {
		return data, fmt.Errorf("image %s has changed since its features were stored; restore it, or make a new store", key)
	}
	img, err := l.decoder.Decode(data)
	if err != nil {
		return data, fmt.Errorf("image %s: %w", key, err)
	}
	defer img.Release()
	size := l.recipe.Model.ImageSize
	if err := l.manifest.Producer.Policy.Render(b.Pixels[n*size*size*3:(n+1)*size*size*3], img, rows.View[row], size); err != nil {
		return data, fmt.Errorf("image %s: %w", key, err)
	}
	return data, nil
}
