// Package view says what a view of an image is and renders it to the pixels that both the teacher and the student see.
//
// A view is a function, not a step of a sequence: Policy.View derives it from (seed, SHA-256 of the image file, view index)
// alone, so order, batch, workers and later additions never change one. Its outcome is recorded with the features, and
// Policy.Render turns image and outcome into 8-bit RGB with Pillow's bicubic filter, byte for byte.
package view

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// Names of the policies.
const (
	Center = "center" // resize the short side, then crop the middle: CLIP's own preprocessing
	RRC    = "rrc"    // random resized crop: torchvision.transforms.RandomResizedCrop, then a flip
)

// Policy says how views are drawn. It is part of the producer's identity and stands in store.json.
type Policy struct {
	Name     string  `json:"name"`
	MinScale float64 `json:"min_scale,omitempty"` // of rrc: area of the crop over the image's, from
	MaxScale float64 `json:"max_scale,omitempty"` // and to
	MinRatio float64 `json:"min_ratio,omitempty"` // of rrc: width over height, log-uniform, from
	MaxRatio float64 `json:"max_ratio,omitempty"` // and to
	HFlip    float64 `json:"hflip,omitempty"`     // of rrc: probability of a left-right flip

	// Of rrc: colour jitter, see WithJitter; 0 for none.
	Brightness float64 `json:"brightness,omitempty"`
	Contrast   float64 `json:"contrast,omitempty"`
	Saturation float64 `json:"saturation,omitempty"`
	Hue        float64 `json:"hue,omitempty"`

	Seed uint64 `json:"seed"`

	ShortEdge int  `json:"short_edge,omitempty"` // of center: what the short side becomes before the crop, 0 for the crop's side
	Stretch   bool `json:"stretch,omitempty"`    // of center: the whole image becomes square, nothing is cropped
}

// NewCenter is the policy of CLIP's preprocessing.
func NewCenter() Policy { return Policy{Name: Center} }

// NewRRC is a random resized crop with torchvision's aspect ratios and an even flip.
func NewRRC(minScale float64, seed uint64) Policy {
	return Policy{Name: RRC, MinScale: minScale, MaxScale: 1, MinRatio: 3. / 4, MaxRatio: 4. / 3, HFlip: 0.5, Seed: seed}
}

// View is the recorded outcome: a box in source pixels after EXIF orientation, whether it is mirrored, and colour jitter. For center the box is
// the whole image.
type View struct {
	Index      uint16
	X, Y, W, H int32
	Flip       bool
	Jitter     []float32 // colour jitter: operation, factor, operation, factor ... as applied; nil where the policy has none
}

// Validate refuses a policy that cannot be drawn from.
func (p Policy) Validate() error {
	if p.ShortEdge < 0 || (p.ShortEdge != 0 || p.Stretch) && p.Name != Center || p.ShortEdge != 0 && p.Stretch {
		return fmt.Errorf("short edge %d, stretched %v: only %s has one of them", p.ShortEdge, p.Stretch, Center)
	}
	switch p.Name {
	case Center:
		return nil
	case RRC:
	default:
		return fmt.Errorf("unknown view policy %q: use %s or %s", p.Name, Center, RRC)
	}
	if !(0 < p.MinScale && p.MinScale <= p.MaxScale && p.MaxScale <= 1) {
		return fmt.Errorf("crop scale from %g to %g: must rise within (0, 1]", p.MinScale, p.MaxScale)
	}
	// The bound on ratios keeps expSmall accurate.
	if !(1./16 <= p.MinRatio && p.MinRatio <= p.MaxRatio && p.MaxRatio <= 16) {
		return fmt.Errorf("crop ratio from %g to %g: must rise within [1/16, 16]", p.MinRatio, p.MaxRatio)
	}
	if !(0 <= p.HFlip && p.HFlip <= 1) {
		return fmt.Errorf("flip probability %g: must be within [0, 1]", p.HFlip)
	}
	return p.validateJitter()
}

// stream is a counter-based generator: block c is SHA-256(key, c) read as four little-endian 64-bit words.
type stream struct {
	key  [48]byte // seed 8, view index 2, image digest 32, zero 2, counter 4; little-endian
	next uint32
	word [4]uint64
	left int
}

func newStream(seed uint64, sha [32]byte, index uint16) *stream {
	s := &stream{}
	binary.LittleEndian.PutUint64(s.key[:], seed)
	binary.LittleEndian.PutUint16(s.key[8:], index)
	copy(s.key[10:], sha[:])
	return s
}

func (s *stream) uint64() uint64 {
	if s.left == 0 {
		binary.LittleEndian.PutUint32(s.key[44:], s.next)
		block := sha256.Sum256(s.key[:])
		for i := range s.word {
			s.word[i] = binary.LittleEndian.Uint64(block[8*i:])
		}
		s.next, s.left = s.next+1, 4
	}
	s.left--
	return s.word[3-s.left]
}

// float is uniform in [0, 1), a multiple of 2^-53.
func (s *stream) float() float64 { return float64(s.uint64()>>11) / (1 << 53) }

// below is uniform in 0..n-1; the bias of the remainder is below n/2^64.
func (s *stream) below(n int) int { return int(s.uint64() % uint64(n)) }

// View derives view index of the image with digest sha and size w x h.
func (p Policy) View(sha [32]byte, index uint16, w, h int) View {
	if p.Name == Center {
		return View{Index: index, W: int32(w), H: int32(h)}
	}
	s := newStream(p.Seed, sha, index)
	v := p.crop(s, w, h)
	v.Index, v.Flip = index, s.float() < p.HFlip
	v.Jitter = p.jitter(s)
	return v
}

// crop follows RandomResizedCrop.get_params: ten tries, then the largest central box of an allowed ratio. Every operation is an
// exactly rounded one, each product rounded by its conversion before it is added, so the box is the same on every machine.
func (p Policy) crop(s *stream, w, h int) View {
	area := float64(w) * float64(h)
	lo, hi := logSmall(p.MinRatio), logSmall(p.MaxRatio)
	for range 10 {
		target := area * (p.MinScale + float64(s.float()*(p.MaxScale-p.MinScale)))
		ratio := expSmall(lo + float64(s.float()*(hi-lo)))
		cw := int(math.RoundToEven(math.Sqrt(target * ratio)))
		ch := int(math.RoundToEven(math.Sqrt(target / ratio)))
		if 0 < cw && cw <= w && 0 < ch && ch <= h {
			return View{X: int32(s.below(w - cw + 1)), Y: int32(s.below(h - ch + 1)), W: int32(cw), H: int32(ch)}
		}
	}
	cw, ch := w, h
	if ratio := float64(w) / float64(h); ratio < p.MinRatio {
		ch = max(1, min(h, int(math.RoundToEven(float64(w)/p.MinRatio))))
	} else if ratio > p.MaxRatio {
		cw = max(1, min(w, int(math.RoundToEven(float64(h)*p.MaxRatio))))
	}
	return View{X: int32((w - cw) / 2), Y: int32((h - ch) / 2), W: int32(cw), H: int32(ch)}
}

// expSmall is e^x for |x| < 3 by its series in a fixed order. math.Exp may differ in the last bit between processors.
func expSmall(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1; k <= 30; k++ {
		term = term * x / float64(k)
		sum += term
	}
	return sum
}

// logSmall is the natural logarithm of 1/16 to 16, 2 artanh((x-1)/(x+1)) by its series in a fixed order, for the same reason.
func logSmall(x float64) float64 {
	z := (x - 1) / (x + 1)
	square, power, sum := z*z, z, 0.0
	for k := 1; k <= 301; k += 2 {
		sum += power / float64(k)
		power *= square
	}
	return 2 * sum
}

// Render writes view v of img, size x size pixels, RGB, into dst. It allocates nothing once its buffers have grown.
func (p Policy) Render(dst []uint8, img *Image, v View, size int) error {
	if len(dst) != 3*size*size {
		return fmt.Errorf("render a view of %d pixels into %d bytes, want %d", size, len(dst), 3*size*size)
	}
	if v.X < 0 || v.Y < 0 || v.W <= 0 || v.H <= 0 || int(v.X)+int(v.W) > img.W || int(v.Y)+int(v.H) > img.H {
		return fmt.Errorf("crop %dx%d at %d,%d lies outside the image of %dx%d", v.W, v.H, v.X, v.Y, img.W, img.H)
	}
	box := source{img.Pix, 3 * img.W, int(v.X), int(v.Y), int(v.W), int(v.H)}
	if p.Name == Center && !p.Stretch {
		edge := max(p.ShortEdge, size)
		w, h := shortSide(img.W, img.H, edge)
		resize(dst, size, size, box, w, h, middle(w, size), middle(h, size))
	} else {
		resize(dst, size, size, box, size, size, 0, 0)
	}
	if v.Flip {
		flip(dst, size)
	}
	if v.Jitter != nil {
		return applyJitter(dst, v.Jitter)
	}
	return nil
}

// shortSide is the size after the short side became size: the long one is truncated, as torchvision and Hugging Face do.
func shortSide(w, h, size int) (int, int) {
	if w <= h {
		return size, int(float64(size) * float64(h) / float64(w))
	}
	return int(float64(size) * float64(w) / float64(h)), size
}

// middle is the offset of the middle size pixels of n, a half rounded to even, as torchvision's center_crop does.
func middle(n, size int) int { return int(math.RoundToEven(float64(n-size) / 2)) }

func flip(pix []uint8, size int) {
	for y := range size {
		row := pix[3*size*y : 3*size*(y+1)]
		for a, b := 0, 3*(size-1); a < b; a, b = a+3, b-3 {
			for c := range 3 {
				row[a+c], row[b+c] = row[b+c], row[a+c]
			}
		}
	}
}
