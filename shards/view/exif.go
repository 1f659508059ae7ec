package view

import (
	"bytes"
	"encoding/binary"
)

// exifOrientation finds the orientation (1 to 8) in a JPEG's APP1 segment or a PNG's eXIf chunk; 0 where there is none that can be
// read, which is no error: Pillow too shows such an image as it lies.
func exifOrientation(data []byte) int {
	if bytes.HasPrefix(data, []byte("\xff\xd8")) {
		return tiffOrientation(jpegExif(data))
	}
	return tiffOrientation(pngExif(data))
}

// jpegExif walks the segments before the scan.
func jpegExif(data []byte) []byte {
	for at := 2; at+4 <= len(data) && data[at] == 0xff; {
		marker, n := data[at+1], int(binary.BigEndian.Uint16(data[at+2:]))
		if marker == 0xff { // fill byte
			at++
			continue
		}
		if marker == 0xda || n < 2 || at+2+n > len(data) {
			return nil
		}
		if body := data[at+4 : at+2+n]; marker == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) {
			return body[6:]
		}
		at += 2 + n
	}
	return nil
}

func pngExif(data []byte) []byte {
	for at := 8; at+8 <= len(data); {
		n := int64(binary.BigEndian.Uint32(data[at:]))
		if int64(at)+8+n > int64(len(data)) {
			return nil
		}
		if string(data[at+4:at+8]) == "eXIf" {
			return data[at+8 : int64(at)+8+n]
		}
		at += int(12 + n)
	}
	return nil
}

// tiffOrientation reads tag 0x0112 of the first directory.
func tiffOrientation(t []byte) int {
	if len(t) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(t[:2]) {
	case "II":
	case "MM":
		order = binary.BigEndian
	default:
		return 0
	}
	at := int64(order.Uint32(t[4:]))
	if at+2 > int64(len(t)) {
		return 0
	}
	for range order.Uint16(t[at:]) {
		if at+14 > int64(len(t)) {
			return 0
		}
		entry := t[at+2 : at+14]
		if order.Uint16(entry) == 0x0112 && order.Uint16(entry[2:]) == 3 {
			return int(order.Uint16(entry[8:]))
		}
		at += 12
	}
	return 0
}
