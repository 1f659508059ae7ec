package view

/*
#include <stdlib.h>

// The part of the TurboJPEG 2 API that is used, by function pointers: the library is opened at run time.
typedef void *(*tj_init_fn)(void);
typedef int (*tj_header_fn)(void *, const unsigned char *, unsigned long, int *, int *, int *, int *);
typedef int (*tj_decode_fn)(void *, const unsigned char *, unsigned long, unsigned char *, int, int, int, int, int);
typedef int (*tj_code_fn)(void *);
typedef char *(*tj_text_fn)(void *);
typedef int (*tj_destroy_fn)(void *);

static void *tj_init(void *f) { return ((tj_init_fn)f)(); }
static int tj_header(void *f, void *h, const unsigned char *p, unsigned long n, int *size) {
	return ((tj_header_fn)f)(h, p, n, size, size + 1, size + 2, size + 3);
}
static int tj_decode(void *f, void *h, const unsigned char *p, unsigned long n, unsigned char *out, int w, int height, int format) {
	return ((tj_decode_fn)f)(h, p, n, out, w, 0, height, format, 0);
}
static int tj_code(void *f, void *h) { return ((tj_code_fn)f)(h); }
static char *tj_text(void *f, void *h) { return ((tj_text_fn)f)(h); }
static void tj_destroy(void *f, void *h) { ((tj_destroy_fn)f)(h); }
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"image/jpeg"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"mvptargets/internal/dynlib"
)

// The families of decoders: within one, the same file gives the same bytes.
const (
	FamilyTurbo = "libjpeg-turbo"
	FamilyGo    = "go"
)

// turboSpec says where libjpeg-turbo is looked for.
var turboSpec = dynlib.Spec{Name: "libjpeg-turbo", Sonames: []string{"libturbojpeg.so.0"}, Env: "MVP_TURBOJPEG",
	Globs: []string{"turbojpeg/lib/libturbojpeg.so.0"}, Remedy: "run `make deps`, or install the package libturbojpeg0"}

// turbo decodes with libjpeg-turbo's defaults (accurate DCT, smooth chroma upsampling), which are Pillow's.
type turbo struct {
	path                                      string
	init, header, decode, code, text, destroy unsafe.Pointer
}

var openTurbo = sync.OnceValues(func() (*turbo, error) {
	lib, err := turboSpec.Open()
	if err != nil {
		return nil, err
	}
	t := &turbo{path: lib.Path()}
	return t, lib.Syms(map[string]*unsafe.Pointer{"tjInitDecompress": &t.init, "tjDecompressHeader3": &t.header,
		"tjDecompress2": &t.decode, "tjGetErrorCode": &t.code, "tjGetErrorStr2": &t.text, "tjDestroy": &t.destroy})
})

// NewDecoder is libjpeg-turbo where it can be opened, else Go's. MVP_JPEG=go asks for Go's.
func NewDecoder() Decoder {
	if os.Getenv("MVP_JPEG") != FamilyGo {
		if t, err := openTurbo(); err == nil {
			return t
		}
	}
	return goDecoder{}
}

// Library is a line on what decodes JPEG here: libjpeg-turbo's file, or Go's release and why it is not libjpeg-turbo.
func Library() string {
	d := NewDecoder()
	if _, err := openTurbo(); err != nil {
		return fmt.Sprintf("JPEG by %s: %v", d.Version(), err)
	}
	return d.Family() + " " + d.Version()
}

// NewDecoderFamily is the decoder of that family, for whoever must see the pixels that a store was made from.
func NewDecoderFamily(family string) (Decoder, error) {
	switch family {
	case FamilyTurbo:
		t, err := openTurbo()
		if err != nil {
			return nil, fmt.Errorf("the store was made with libjpeg-turbo's pixels: %w", err)
		}
		return t, nil
	case FamilyGo:
		return goDecoder{}, nil
	}
	return nil, fmt.Errorf("unknown decoder family %q: known are %s and %s", family, FamilyTurbo, FamilyGo)
}

func (t *turbo) Family() string                     { return FamilyTurbo }
func (t *turbo) Version() string                    { return t.path }
func (t *turbo) Decode(data []byte) (*Image, error) { return decode(data, t.jpeg) }

// From turbojpeg.h.
const (
	tjPixelRGB, tjPixelCMYK  = 0, 11
	tjColorCMYK, tjColorYCCK = 3, 4
	tjErrorWarning           = 0
	tjSamplingUnknown        = -1 // the header call complains of rare chroma layouts that the decoder can read
)

func (t *turbo) jpeg(data []byte) (*Image, error) {
	// A new decompressor for each file (microseconds): a used one keeps the tables of the files before, and a damaged file would
	// make it fail on, or decode differently, a good one that comes later.
	h := C.tj_init(t.init)
	if h == nil {
		return nil, errors.New("libjpeg-turbo: out of memory")
	}
	defer C.tj_destroy(t.destroy, h)
	p, n := (*C.uchar)(unsafe.Pointer(&data[0])), C.ulong(len(data))
	var size [4]C.int // width, height, subsampling, colour space
	if C.tj_header(t.header, h, p, n, &size[0]) != 0 && size[2] != tjSamplingUnknown {
		if err := t.failure(h, data); err != nil {
			return nil, err
		}
	}
	w, height := int(size[0]), int(size[1])
	if err := checkSize(w, height); err != nil {
		return nil, err
	}
	format, channels := tjPixelRGB, 3
	if size[3] == tjColorCMYK || size[3] == tjColorYCCK {
		format, channels = tjPixelCMYK, 4
	}
	img := &Image{w, height, newPixels(channels * w * height)}
	failed := C.tj_decode(t.decode, h, p, n, (*C.uchar)(unsafe.Pointer(&img.Pix[0])), C.int(w), C.int(height), C.int(format)) != 0
	runtime.KeepAlive(data)
	if failed {
		if err := t.failure(h, data); err != nil {
			return nil, err
		}
	}
	if channels == 4 {
		img.Pix = cmykToRGB(img.Pix)
	}
	return img, nil
}

// failure tells a damaged file from a mere warning: what Pillow too would show passes, a file that ends early does not.
func (t *turbo) failure(h unsafe.Pointer, data []byte) error {
	msg := strings.TrimSpace(C.GoString(C.tj_text(t.text, h)))
	if C.tj_code(t.code, h) != tjErrorWarning {
		return errors.New(msg)
	}
	if !bytes.Contains(data[max(0, bytes.LastIndex(data, []byte("\xff\xda"))):], []byte("\xff\xd9")) {
		return errors.New("the file is truncated")
	}
	return nil
}

// cmykToRGB is Pillow's conversion (src/libImaging/Convert.c, cmyk2rgb) of what JPEG files hold: all inks inverted, as Adobe writes
// them, which Pillow assumes of every file.
func cmykToRGB(cmyk []uint8) []uint8 {
	rgb := make([]uint8, 0, len(cmyk)/4*3)
	for i := 0; i+4 <= len(cmyk); i += 4 {
		k := int(cmyk[i+3])
		for _, v := range cmyk[i : i+3] {
			product := (255-int(v))*k + 128
			rgb = append(rgb, uint8(max(0, k-(product>>8+product)>>8)))
		}
	}
	return rgb
}

// goDecoder decodes JPEG with Go's image/jpeg: chroma is not smoothed, so pixels differ from Pillow's by a few grey levels.
type goDecoder struct{}

func (goDecoder) Family() string  { return FamilyGo }
func (goDecoder) Version() string { return runtime.Version() }
func (goDecoder) Decode(data []byte) (*Image, error) {
	return decode(data, func(data []byte) (*Image, error) {
		c, err := jpeg.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		if err := checkSize(c.Width, c.Height); err != nil {
			return nil, err
		}
		m, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return toRGB(m), nil
	})
}
