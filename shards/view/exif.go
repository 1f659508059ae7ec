package view

import (
	"bytes"
	"encoding/binary"
)

// exifOrientation finds the orientation (1 to 8) in a JPEG's APP1 segments, a PNG's or WebP's EXIF chunk or a TIFF's directory; 0
// where there is none that can be read, which is no error: Pillow too shows such an image as it lies.
func exifOrientation(data []byte) int {
	var exif, xmp []byte
	switch formatOf(data) {
	case formatJPEG:
		exif, xmp = jpegMetadata(data)
	case formatPNG:
		exif = pngExif(data)
	case formatWebP:
		exif, xmp = webpMetadata(data)
	case formatTIFF:
		exif = data
	}
	if o := tiffOrientation(exif); o != 0 {
		return o
	}
	return xmpOrientation(xmp)
}

// jpegMetadata walks the segments before the scan for the first EXIF block and the last XMP packet.
func jpegMetadata(data []byte) (exif, xmp []byte) {
	for at := 2; at+4 <= len(data) && data[at] == 0xff; {
		marker, n := data[at+1], int(binary.BigEndian.Uint16(data[at+2:]))
		if marker == 0xff { // fill byte
			at++
			continue
		}
		if marker == 0xda || n < 2 || at+2+n > len(data) {
			break
		}
		body := data[at+4 : at+2+n]
		if marker == 0xe1 {
			if b, ok := bytes.CutPrefix(body, []byte("Exif\x00\x00")); ok && exif == nil {
				exif = b
			} else if b, ok := bytes.CutPrefix(body, []byte("http://ns.adobe.com/xap/1.0/\x00")); ok {
				xmp = b
			}
		}
		at += 2 + n
	}
	return exif, xmp
}

// xmpOrientation reads tiff:Orientation="6" or <tiff:Orientation>6, which Pillow uses where EXIF has no orientation.
func xmpOrientation(xmp []byte) int {
	_, after, _ := bytes.Cut(xmp, []byte("tiff:Orientation"))
	for _, opening := range []string{`="`, ">"} {
		if v, ok := bytes.CutPrefix(after, []byte(opening)); ok && len(v) > 0 && '0' <= v[0] && v[0] <= '9' {
			return int(v[0] - '0')
		}
	}
	return 0
}

// webpMetadata finds the chunks of a file that parseWebP took.
func webpMetadata(data []byte) (exif, xmp []byte) {
	for chunks := data[12:]; len(chunks) >= 8; {
		n := int64(binary.LittleEndian.Uint32(chunks[4:]))
		if n > int64(len(chunks)-8) {
			break
		}
		switch body := chunks[8 : 8+n]; string(chunks[:4]) {
		case "EXIF":
			exif = bytes.TrimPrefix(body, []byte("Exif\x00\x00"))
		case "XMP ":
			xmp = body
		}
		chunks = chunks[min(8+n+n%2, int64(len(chunks))):]
	}
	return exif, xmp
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
