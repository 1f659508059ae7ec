package view

import (
	"fmt"
	"math"
)

// Jitter is a view's colour jitter: pairs of an operation and its factor, in the order in which they are applied. The operations are
// those of torchvision.transforms.ColorJitter on PIL images, under its numbers; the pixels after each are rounded to 8 bits, as there.
const (
	jitterBrightness = iota // factor: 0 is black, 1 the image
	jitterContrast          // 0 is the mean of its grey
	jitterSaturation        // 0 is its grey
	jitterHue               // turns, -0.5 to 0.5
	jitterOperations
)

// WithJitter adds torchvision's ColorJitter(brightness, contrast, saturation, hue) after crop and flip: factors of the first three are
// uniform within 1 ± the number, but not below 0, that of hue within ± it, and the order is random.
func (p Policy) WithJitter(brightness, contrast, saturation, hue float64) Policy {
	p.Brightness, p.Contrast, p.Saturation, p.Hue = brightness, contrast, saturation, hue
	return p
}

func (p Policy) jitterRanges() [jitterOperations]float64 {
	return [jitterOperations]float64{p.Brightness, p.Contrast, p.Saturation, p.Hue}
}

func (p Policy) validateJitter() error {
	for op, r := range p.jitterRanges() {
		most := 16.
		if op == jitterHue {
			most = 0.5
		}
		if !(r >= 0 && r <= most) {
			return fmt.Errorf("colour jitter of %g: must be within [0, %g]", r, most)
		}
	}
	return nil
}

// jitter draws the parameters; nil where the policy has no jitter.
func (p Policy) jitter(s *stream) []float32 {
	ranges := p.jitterRanges()
	if ranges == ([jitterOperations]float64{}) {
		return nil
	}
	order := [jitterOperations]int{0, 1, 2, 3}
	for i := len(order) - 1; i > 0; i-- {
		j := s.below(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	var factor [jitterOperations]float32
	for op, r := range ranges {
		lo, hi := max(0, 1-r), 1+r
		if op == jitterHue {
			lo, hi = -r, r
		}
		factor[op] = float32(lo + float64(s.float()*(hi-lo)))
	}
	var out []float32
	for _, op := range order {
		if ranges[op] > 0 {
			out = append(out, float32(op), factor[op])
		}
	}
	return out
}

// applyJitter changes RGB pixels by the recorded parameters.
func applyJitter(pix []uint8, params []float32) error {
	if len(params)%2 != 0 {
		return fmt.Errorf("colour jitter has %d numbers, want pairs of operation and factor", len(params))
	}
	for i := 0; i < len(params); i += 2 {
		factor := params[i+1]
		switch op := params[i]; op {
		case jitterBrightness:
			blendWith(pix, 0, factor)
		case jitterContrast:
			blendWith(pix, meanGrey(pix), factor)
		case jitterSaturation:
			saturate(pix, factor)
		case jitterHue:
			turnHue(pix, factor)
		default:
			return fmt.Errorf("colour jitter names operation %g, known are 0 to %d", op, jitterOperations-1)
		}
	}
	return nil
}

// blend is one value of Pillow's Image.blend (src/libImaging/Blend.c) in float32: a + factor (b - a), cut to 0..255 and truncated.
func blend(a, b uint8, factor float32) uint8 {
	v := float32(a) + float32(factor*float32(int(b)-int(a))) // the conversion keeps the product from being fused with the sum
	return uint8(max(0, min(255, v)))
}

// blendWith is ImageEnhance.Brightness and Contrast: a blend of one grey with the image.
func blendWith(pix []uint8, grey uint8, factor float32) {
	var table [256]uint8
	for v := range table {
		table[v] = blend(grey, uint8(v), factor)
	}
	for i, v := range pix {
		pix[i] = table[v]
	}
}

// grey is Pillow's luma, ITU-R 601 with 16 bits after the point.
func grey(r, g, b uint8) uint8 {
	return uint8((uint32(r)*19595 + uint32(g)*38470 + uint32(b)*7471 + 0x8000) >> 16)
}

func meanGrey(pix []uint8) uint8 {
	sum := 0
	for i := 0; i+3 <= len(pix); i += 3 {
		sum += int(grey(pix[i], pix[i+1], pix[i+2]))
	}
	return uint8(float64(sum)/float64(len(pix)/3) + 0.5)
}

// saturate is ImageEnhance.Color: a blend of the image's grey with the image.
func saturate(pix []uint8, factor float32) {
	for i := 0; i+3 <= len(pix); i += 3 {
		p := pix[i : i+3]
		l := grey(p[0], p[1], p[2])
		p[0], p[1], p[2] = blend(l, p[0], factor), blend(l, p[1], factor), blend(l, p[2], factor)
	}
}

// turnHue is torchvision's adjust_hue on a PIL image: 8-bit HSV, the hue shifted with wrap-around, and back.
func turnHue(pix []uint8, factor float32) {
	shift := uint8(int32(float64(factor) * 255))
	for i := 0; i+3 <= len(pix); i += 3 {
		p := pix[i : i+3]
		h, s, v := toHSV(p[0], p[1], p[2])
		p[0], p[1], p[2] = fromHSV(h+shift, s, v)
	}
}

// toHSV is Pillow's conversion (src/libImaging/Convert.c, rgb2hsv_row) with its mixture of float32 and float64.
func toHSV(r, g, b uint8) (h, s, v uint8) {
	high, low := max(r, g, b), min(r, g, b)
	if high == low {
		return 0, 0, high
	}
	span := float32(high - low)
	rc, gc, bc := float32(high-r)/span, float32(high-g)/span, float32(high-b)/span
	var hue float32
	switch high {
	case r:
		hue = bc - gc
	case g:
		hue = float32(2 + float64(rc) - float64(bc))
	default:
		hue = float32(4 + float64(gc) - float64(rc))
	}
	hue = float32(math.Mod(float64(hue)/6+1, 1))
	return uint8(int(float64(hue) * 255)), uint8(int(float64(span/float32(high)) * 255)), high
}

// fromHSV is its counterpart, hsv2rgb.
func fromHSV(h, s, v uint8) (r, g, b uint8) {
	if s == 0 {
		return v, v, v
	}
	sixth := float64(h) * 6 / 255
	i := int(sixth)
	f, fs := float32(sixth-float64(i)), float32(float64(s)/255)
	round := func(x float64) uint8 { return uint8(math.Round(float64(v) * x)) }
	p := round(1 - float64(fs))
	q := round(1 - float64(float32(fs*f)))
	t := round(1 - float64(float64(fs)*(1-float64(f))))
	switch i % 6 {
	case 0:
		return v, t, p
	case 1:
		return q, v, p
	case 2:
		return p, v, t
	case 3:
		return p, q, v
	case 4:
		return t, p, v
	}
	return v, p, q
}
