package view

import (
	"bytes"
	"encoding/binary"
	"image"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// Tags of a TIFF directory, and the compressions that are fax codes.
const (
	tagCompression, tagPhotometric, tagOrientation = 0x0103, 0x0106, 0x0112

	blackIsZero       = 1
	faxFirst, faxLast = 2, 4
)

// decodeTIFF decodes the first page. 16-bit grey is clipped, as in decodePNG.
func decodeTIFF(data []byte) (*Image, error) {
	m, err := decodeWith(data, tiff.DecodeConfig, tiff.Decode)
	if err != nil {
		return nil, err
	}
	if g, ok := m.(*image.Gray16); ok {
		return clipGray16(g), nil
	}
	img := toRGB(m)
	photometric, _ := tiffTag(data, tagPhotometric)
	if c, _ := tiffTag(data, tagCompression); c >= faxFirst && c <= faxLast && photometric == blackIsZero {
		// In fax codes white is 0 whatever the tag says of 0; the decoder shows white.
		for i, v := range img.Pix {
			img.Pix[i] = 255 - v
		}
	}
	return img, nil
}

func decodeBMP(data []byte) (*Image, error) {
	m, err := decodeWith(data, bmp.DecodeConfig, bmp.Decode)
	if err != nil {
		return nil, err
	}
	return toRGB(m), nil
}

// decodeWith calls a decoder of golang.org/x/image if the size is allowed.
func decodeWith(data []byte, config func(io.Reader) (image.Config, error), decode func(io.Reader) (image.Image, error)) (image.Image, error) {
	c, err := config(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := checkSize(c.Width, c.Height); err != nil {
		return nil, err
	}
	return decode(bytes.NewReader(data))
}

// tiffTag reads the first value, a SHORT or a LONG, of a tag in the first directory of a TIFF structure.
func tiffTag(t []byte, tag uint16) (uint32, bool) {
	if len(t) < 8 {
		return 0, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(t[:2]) {
	case "II":
	case "MM":
		order = binary.BigEndian
	default:
		return 0, false
	}
	at := int64(order.Uint32(t[4:]))
	if at+2 > int64(len(t)) {
		return 0, false
	}
	for range order.Uint16(t[at:]) {
		if at+14 > int64(len(t)) {
			return 0, false
		}
		entry := t[at+2 : at+14]
		if order.Uint16(entry) == tag {
			switch order.Uint16(entry[2:]) {
			case 3: // SHORT
				return uint32(order.Uint16(entry[8:])), true
			case 4: // LONG
				return order.Uint32(entry[8:]), true
			}
		}
		at += 12
	}
	return 0, false
}

func tiffOrientation(t []byte) int {
	o, _ := tiffTag(t, tagOrientation)
	return int(min(o, 9))
}
