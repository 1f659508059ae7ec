package view

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"

	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

// webpFrame is the first picture of a WebP file: its compressed bytes and where it lies on the canvas.
type webpFrame struct {
	canvas image.Point
	at     image.Point
	data   []byte
	vp8l   bool // lossless
}

// decodeWebP decodes the first frame as libwebp does with its defaults, which are Pillow's. golang.org/x/image decodes the planes, which
// the formats define to the bit; chroma is upsampled and colours are converted here. Alpha is dropped. Nothing surrounds a frame
// smaller than its canvas: it lies on transparent black.
func decodeWebP(data []byte) (*Image, error) {
	f, err := parseWebP(data)
	if err != nil {
		return nil, err
	}
	var img *Image
	if f.vp8l {
		img, err = decodeVP8L(f.data)
	} else {
		img, err = decodeVP8(f.data)
	}
	if err != nil {
		return nil, err
	}
	if f.canvas == (image.Point{}) {
		return img, nil
	}
	return img.on(f.canvas, f.at)
}

var errWebPShort = errors.New("the file is truncated")

// parseWebP walks the chunks of the RIFF file to the first that holds a picture.
func parseWebP(data []byte) (f webpFrame, err error) {
	size := int64(binary.LittleEndian.Uint32(data[4:])) + 8
	if size < 12 || size > int64(len(data)) {
		return f, errWebPShort
	}
	chunks := data[12:size]
	for len(chunks) >= 8 {
		name, n := string(chunks[:4]), int64(binary.LittleEndian.Uint32(chunks[4:]))
		if n > int64(len(chunks)-8) {
			return f, errWebPShort
		}
		body := chunks[8 : 8+n]
		switch name {
		case "VP8X":
			if n < 10 {
				return f, errors.New("damaged header")
			}
			f.canvas = image.Pt(1+int(uint24(body[4:])), 1+int(uint24(body[7:])))
			if err := checkSize(f.canvas.X, f.canvas.Y); err != nil {
				return f, err
			}
		case "ANMF":
			if n < 16 {
				return f, errors.New("damaged frame")
			}
			f.at = image.Pt(2*int(uint24(body)), 2*int(uint24(body[3:])))
			chunks = body[16:]
			continue
		case "VP8 ", "VP8L":
			f.data, f.vp8l = body, name == "VP8L"
			return f, nil
		}
		chunks = chunks[min(8+n+n%2, int64(len(chunks))):]
	}
	return f, errors.New("no picture in the file")
}

func uint24(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }

func decodeVP8L(data []byte) (*Image, error) {
	c, err := vp8l.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := checkSize(c.Width, c.Height); err != nil {
		return nil, err
	}
	m, err := vp8l.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return toRGB(m), nil
}

func decodeVP8(data []byte) (*Image, error) {
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(data), len(data))
	h, err := d.DecodeFrameHeader()
	if err != nil {
		return nil, err
	}
	if err := checkSize(h.Width, h.Height); err != nil {
		return nil, err
	}
	m, err := d.DecodeFrame()
	if err != nil {
		return nil, err
	}
	return fancyRGB(m, h.Width, h.Height), nil
}

// fancyRGB is libwebp's "fancy" upsampling (src/dsp/upsampling.c): a chroma sample stands in the middle of 2 x 2 pixels, and each pixel
// takes its nearest four with weights 9, 3, 3 and 1, rounded twice. Outside the image the edge is repeated.
func fancyRGB(m *image.YCbCr, w, h int) *Image {
	img := &Image{w, h, make([]uint8, 3*w*h)}
	last := (h+1)/2 - 1
	for y := range h {
		near := y / 2
		far := max(0, min(last, near-1+2*(y%2)))
		u := chromaRows{m.Cb[near*m.CStride:], m.Cb[far*m.CStride:]}
		v := chromaRows{m.Cr[near*m.CStride:], m.Cr[far*m.CStride:]}
		row, luma := img.Pix[3*w*y:3*w*(y+1)], m.Y[y*m.YStride:]
		columns := (w + 1) / 2
		for x := range w {
			a := x / 2
			b := max(0, min(columns-1, a-1+2*(x%2)))
			r, g, bl := webpRGB(int(luma[x]), u.at(a, b), v.at(a, b))
			row[3*x], row[3*x+1], row[3*x+2] = r, g, bl
		}
	}
	return img
}

// chromaRows are the nearer and the farther row of one plane.
type chromaRows struct{ near, far []uint8 }

// at weighs columns a, the nearer, and b. libwebp takes a mean of three at an edge, which is the same number.
func (c chromaRows) at(a, b int) int {
	nn, nf, fn, ff := int(c.near[a]), int(c.near[b]), int(c.far[a]), int(c.far[b])
	return (nn + (nn+nf+fn+ff+8+2*(nf+fn))>>3) >> 1
}

// webpRGB is libwebp's conversion from YCbCr with the video range (src/dsp/yuv.h), 14 bits after the point.
func webpRGB(y, u, v int) (r, g, b uint8) {
	high := func(v, factor int) int { return v * factor >> 8 }
	clip := func(v int) uint8 { return uint8(max(0, min(255, v>>6))) }
	luma := high(y, 19077)
	return clip(luma + high(v, 26149) - 14234), clip(luma - high(u, 6419) - high(v, 13320) + 8708), clip(luma + high(u, 33050) - 17685)
}

// on puts the image at a place of a black canvas. A frame that does not fit is damage.
func (m *Image) on(canvas, at image.Point) (*Image, error) {
	if canvas == (image.Point{m.W, m.H}) && at == (image.Point{}) {
		return m, nil
	}
	if at.X+m.W > canvas.X || at.Y+m.H > canvas.Y {
		return nil, fmt.Errorf("a frame of %dx%d at %d,%d lies outside its canvas of %dx%d", m.W, m.H, at.X, at.Y, canvas.X, canvas.Y)
	}
	out := &Image{canvas.X, canvas.Y, make([]uint8, 3*canvas.X*canvas.Y)}
	for y := range m.H {
		copy(out.Pix[3*((at.Y+y)*out.W+at.X):], m.Pix[3*y*m.W:3*(y+1)*m.W])
	}
	return out, nil
}
