package view

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"sync"
)

// Image is 8-bit RGB, row-major [H, W, 3], with EXIF orientation applied.
type Image struct {
	W, H int
	Pix  []uint8
}

// Release gives m's memory to images that are decoded later; m must not be used any more. Without it the memory is garbage, no more.
func (m *Image) Release() {
	pix := m.Pix
	m.Pix = nil
	pixelPool.Put(&pix)
}

var pixelPool sync.Pool // *[]uint8

// newPixels is memory for n bytes, whatever they are, with room behind them for what vectors read too much.
func newPixels(n int) []uint8 {
	if held, ok := pixelPool.Get().(*[]uint8); ok && cap(*held) >= n+overread {
		return (*held)[:n]
	}
	return make([]uint8, n, n+overread)
}

// MaxPixels bounds the size of an image before anything is allocated for it: twice Pillow's warning limit, where Pillow too refuses.
const MaxPixels = 2 * 89478485

// ErrFormat marks a file whose format is not known here, by its content.
var ErrFormat = errors.New("none of JPEG, PNG, WebP, GIF, BMP and TIFF")

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

// fileFormat is what a file is by its first bytes.
type fileFormat string

const (
	formatJPEG fileFormat = "jpeg"
	formatPNG  fileFormat = "png"
	formatWebP fileFormat = "webp"
	formatGIF  fileFormat = "gif"
	formatBMP  fileFormat = "bmp"
	formatTIFF fileFormat = "tiff"
)

func formatOf(data []byte) fileFormat {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return formatJPEG
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return formatPNG
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return formatWebP
	case bytes.HasPrefix(data, []byte("GIF87a")), bytes.HasPrefix(data, []byte("GIF89a")):
		return formatGIF
	case bytes.HasPrefix(data, []byte("BM")):
		return formatBMP
	case bytes.HasPrefix(data, []byte("II*\x00")), bytes.HasPrefix(data, []byte("MM\x00*")):
		return formatTIFF
	}
	return ""
}

// decode picks the format by content; jpeg decodes what is a JPEG.
func decode(data []byte, jpeg func([]byte) (*Image, error)) (img *Image, err error) {
	defer func() { // one damaged file must not end a job over a million
		if p := recover(); p != nil {
			img, err = nil, fmt.Errorf("the decoder failed on it: %v", p)
		}
	}()
	if len(data) == 0 {
		return nil, errors.New("empty file")
	}
	format := formatOf(data)
	decoder := map[fileFormat]func([]byte) (*Image, error){formatJPEG: jpeg, formatPNG: decodePNG, formatWebP: decodeWebP,
		formatGIF: decodeGIF, formatBMP: decodeBMP, formatTIFF: decodeTIFF}[format]
	if decoder == nil {
		return nil, ErrFormat
	}
	img, err = decoder(data)
	if err != nil {
		return nil, named(format, err)
	}
	return img.orient(exifOrientation(data)), nil
}

// named puts the format before an error whose library has not done so.
func named(format fileFormat, err error) error {
	if strings.HasPrefix(err.Error(), string(format)+":") {
		return err
	}
	return fmt.Errorf("%s: %w", format, err)
}

// decodePNG drops alpha and the low byte of 16-bit colours, as Pillow's convert("RGB") does.
func decodePNG(data []byte) (*Image, error) {
	c, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := checkSize(c.Width, c.Height); err != nil {
		return nil, err
	}
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if data[24] == 16 && data[25] == 0 { // bits and colour type in the header: 16-bit grey
		return clipGray16(m), nil
	}
	return toRGB(m), nil
}

// clipGray16 clips 16-bit grey at 255, as Pillow's conversion of mode "I;16" does.
func clipGray16(m image.Image) *Image {
	b := m.Bounds()
	img := &Image{b.Dx(), b.Dy(), make([]uint8, 0, 3*b.Dx()*b.Dy())}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			var v uint16
			switch m := m.(type) {
			case *image.Gray16:
				v = m.Gray16At(x, y).Y
			case *image.NRGBA64: // one level of grey is transparent
				v = m.NRGBA64At(x, y).R
			}
			c := uint8(min(v, 255))
			img.Pix = append(img.Pix, c, c, c)
		}
	}
	return img
}

// toRGB converts any image that Go's decoders give, alpha dropped and not multiplied in.
func toRGB(m image.Image) *Image {
	b := m.Bounds()
	img := &Image{b.Dx(), b.Dy(), make([]uint8, 3*b.Dx()*b.Dy())}
	out := img.Pix
	for y := b.Min.Y; y < b.Max.Y; y++ {
		row := out[:3*img.W]
		out = out[len(row):]
		switch m := m.(type) {
		case *image.NRGBA:
			every(row, m.Pix[m.PixOffset(b.Min.X, y):], 4, 0, 1, 2)
		case *image.RGBA: // opaque in PNG
			every(row, m.Pix[m.PixOffset(b.Min.X, y):], 4, 0, 1, 2)
		case *image.NRGBA64:
			every(row, m.Pix[m.PixOffset(b.Min.X, y):], 8, 0, 2, 4)
		case *image.RGBA64: // opaque in PNG
			every(row, m.Pix[m.PixOffset(b.Min.X, y):], 8, 0, 2, 4)
		case *image.Gray:
			every(row, m.Pix[m.PixOffset(b.Min.X, y):], 1, 0, 0, 0)
		case *image.YCbCr:
			for x := range img.W {
				l, c := m.YOffset(b.Min.X+x, y), m.COffset(b.Min.X+x, y)
				row[3*x], row[3*x+1], row[3*x+2] = color.YCbCrToRGB(m.Y[l], m.Cb[c], m.Cr[c])
			}
		default: // palettes and CMYK
			for x := range img.W {
				row[3*x], row[3*x+1], row[3*x+2] = straight(m.At(b.Min.X+x, y))
			}
		}
	}
	return img
}

// every takes the bytes r, g, b of each step bytes of src.
func every(row, src []uint8, step, r, g, b int) {
	for x := 0; x < len(row); x += 3 {
		row[x], row[x+1], row[x+2] = src[r], src[g], src[b]
		if x+3 < len(row) {
			src = src[step:]
		}
	}
}

// straight is a colour without its alpha.
func straight(c color.Color) (r, g, b uint8) {
	switch c := c.(type) {
	case color.NRGBA:
		return c.R, c.G, c.B
	case color.RGBA: // opaque in PNG's palettes
		return c.R, c.G, c.B
	}
	wr, wg, wb, _ := c.RGBA()
	return uint8(wr >> 8), uint8(wg >> 8), uint8(wb >> 8)
}

// orient applies an EXIF orientation 1 to 8 as Pillow's ImageOps.exif_transpose.
func (m *Image) orient(o int) *Image {
	if o < 2 || o > 8 {
		return m
	}
	out := &Image{m.W, m.H, newPixels(len(m.Pix))}
	defer m.Release()
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
