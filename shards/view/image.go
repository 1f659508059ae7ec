package view

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
)

// Image is 8-bit RGB, row-major [H, W, 3], with EXIF orientation applied.
type Image struct {
	W, H int
	Pix  []uint8
}

// MaxPixels bounds the size of an image before anything is allocated for it: twice Pillow's warning limit, where Pillow too refuses.
const MaxPixels = 2 * 89478485

// ErrFormat marks a file whose format is not known here, by its content.
var ErrFormat = errors.New("neither JPEG nor PNG")

// Decoder turns a file's bytes into an Image. It is safe for concurrent use.
type Decoder interface {
	Decode(data []byte) (*Image, error)
	Family() string  // "libjpeg-turbo" or "go": features made with one family are not mixed with pixels of another
	Version() string // of the library, for the record
}

func checkSize(w, h int) error {
	if w <= 0 || h <= 0 {
		return fmt.Errorf("image of %dx%d pixels", w, h)
	}
	if int64(w)*int64(h) > MaxPixels {
		return fmt.Errorf("image of %dx%d pixels is over the limit of %d (a decompression bomb?)", w, h, MaxPixels)
	}
	return nil
}

// decode picks the format by content; jpeg decodes what is a JPEG.
func decode(data []byte, jpeg func([]byte) (*Image, error)) (*Image, error) {
	var img *Image
	var err error
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		img, err = jpeg(data)
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		img, err = decodePNG(data)
	case len(data) == 0:
		return nil, errors.New("empty file")
	default:
		return nil, ErrFormat
	}
	if err != nil {
		return nil, err
	}
	return img.orient(exifOrientation(data)), nil
}

// decodePNG drops alpha and the low byte of 16-bit colours, as Pillow's convert("RGB") does.
func decodePNG(data []byte) (*Image, error) {
	c, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("png: %w", err)
	}
	if err := checkSize(c.Width, c.Height); err != nil {
		return nil, err
	}
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("png: %w", err)
	}
	if g, ok := m.(*image.Gray16); ok {
		return clipGray16(g), nil
	}
	return toRGB(m), nil
}

// clipGray16 clips 16-bit grey at 255, as Pillow's conversion of mode "I;16" does.
func clipGray16(m *image.Gray16) *Image {
	b := m.Bounds()
	img := &Image{b.Dx(), b.Dy(), make([]uint8, 0, 3*b.Dx()*b.Dy())}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			v := uint8(min(m.Gray16At(x, y).Y, 255))
			img.Pix = append(img.Pix, v, v, v)
		}
	}
	return img
}

// toRGB converts any image of Go's, alpha dropped and not multiplied in.
func toRGB(m image.Image) *Image {
	b := m.Bounds()
	img := &Image{b.Dx(), b.Dy(), make([]uint8, 3*b.Dx()*b.Dy())}
	at := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			var r, g, bl uint8
			switch c := m.At(x, y).(type) {
			case color.NRGBA:
				r, g, bl = c.R, c.G, c.B
			case color.YCbCr:
				r, g, bl = color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
			case color.NRGBA64:
				r, g, bl = uint8(c.R>>8), uint8(c.G>>8), uint8(c.B>>8)
			case color.RGBA: // opaque or straight in PNG's palettes
				r, g, bl = c.R, c.G, c.B
			default:
				cr, cg, cb, _ := c.RGBA()
				r, g, bl = uint8(cr>>8), uint8(cg>>8), uint8(cb>>8)
			}
			img.Pix[at], img.Pix[at+1], img.Pix[at+2] = r, g, bl
			at += 3
		}
	}
	return img
}

// orient applies an EXIF orientation 1 to 8 as Pillow's ImageOps.exif_transpose.
func (m *Image) orient(o int) *Image {
	if o < 2 || o > 8 {
		return m
	}
	out := &Image{m.W, m.H, make([]uint8, len(m.Pix))}
	if o >= 5 {
		out.W, out.H = m.H, m.W
	}
	for y := range m.H {
		for x := range m.W {
			var dx, dy int
			switch o {
			case 2:
				dx, dy = m.W-1-x, y
			case 3:
				dx, dy = m.W-1-x, m.H-1-y
			case 4:
				dx, dy = x, m.H-1-y
			case 5:
				dx, dy = y, x
			case 6:
				dx, dy = m.H-1-y, x
			case 7:
				dx, dy = m.H-1-y, m.W-1-x
			case 8:
				dx, dy = y, m.W-1-x
			}
			copy(out.Pix[3*(dy*out.W+dx):][:3], m.Pix[3*(y*m.W+x):][:3])
		}
	}
	return out
}
