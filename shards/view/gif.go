package view

import (
	"bytes"
	"errors"
	"image"
	"image/gif"
)

// decodeGIF decodes the first frame. Around a frame smaller than the screen is the transparent colour or, without one, the palette's
// first, as in Pillow; a transparent colour is shown as the palette has it.
func decodeGIF(data []byte) (*Image, error) {
	c, err := gif.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := checkSize(c.Width, c.Height); err != nil {
		return nil, err
	}
	palette, transparent, err := gifPalette(data)
	if err != nil {
		return nil, err
	}
	m, err := gif.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	frame, ok := m.(*image.Paletted)
	if !ok {
		return nil, errors.New("no palette")
	}
	img := &Image{c.Width, c.Height, make([]uint8, 3*c.Width*c.Height)}
	for i := 0; i < len(img.Pix); i += 3 {
		copy(img.Pix[i:], palette[3*transparent:3*transparent+3])
	}
	for y := frame.Rect.Min.Y; y < frame.Rect.Max.Y; y++ {
		row := img.Pix[3*(y*img.W+frame.Rect.Min.X):]
		for x, i := range frame.Pix[frame.PixOffset(frame.Rect.Min.X, y):][:frame.Rect.Dx()] {
			copy(row[3*x:3*x+3], palette[3*int(i):])
		}
	}
	return img, nil
}

var errGIFShort = errors.New("the file is truncated")

// gifPalette walks the blocks up to the first frame: its palette, 256 colours with black behind the last, and its transparent
// colour's number, 0 where it has none. Go's decoder forgets that colour.
func gifPalette(data []byte) (palette [3 * 256]uint8, transparent int, err error) {
	table := func(at int, flags byte) int { // copies the colour table at a place, if the flags say that there is one
		if flags&0x80 == 0 {
			return 0
		}
		n := min(3<<(flags&7+1), len(data)-at)
		clear(palette[:])
		copy(palette[:], data[at:at+n])
		return n
	}
	if len(data) < 13 {
		return palette, 0, errGIFShort
	}
	at := 13 + table(13, data[10])
	for at+10 <= len(data) {
		switch data[at] {
		case 0x2c: // the frame
			table(at+10, data[at+9])
			return palette, transparent, nil
		case 0x21: // an extension: its kind, then blocks with their lengths before them
			if data[at+1] == 0xf9 && data[at+2] == 4 && data[at+3]&1 != 0 {
				transparent = int(data[at+6])
			}
			for at += 2; at < len(data) && data[at] != 0; {
				at += 1 + int(data[at])
			}
			at++
		default:
			return palette, 0, errors.New("damaged block")
		}
	}
	return palette, 0, errGIFShort
}
