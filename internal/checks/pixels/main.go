// pixels decodes image files and renders views of them for a comparison with another program: checks/pixels_pillow.py.
//
//	go run ./internal/checks/pixels FAMILY OUT FILE...
//
// For the n-th file, from 0, OUT receives n.decoded, n.center and n.crop, 8-bit RGB without a header, and a line "width height" or
// "error ..." is printed. center is the 224-pixel view of CLIP; crop is the third quarter of the image at 64 pixels, mirrored.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"mvptargets/shards/view"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: pixels FAMILY OUT FILE...")
		os.Exit(2)
	}
	d, err := view.NewDecoderFamily(os.Args[1])
	for n, name := range os.Args[3:] {
		if err == nil {
			err = one(d, name, filepath.Join(os.Args[2], fmt.Sprint(n)))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// one writes what a file gives; only a failure to read or write is an error.
func one(d view.Decoder, name, out string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	img, err := d.Decode(data)
	if err != nil {
		fmt.Println("error", err)
		return nil
	}
	fmt.Println(img.W, img.H)
	center, crop := make([]uint8, 3*224*224), make([]uint8, 3*64*64)
	p := view.NewRRC(0.2, 0)
	box := view.View{X: int32(img.W / 2), Y: int32(img.H / 2), W: int32(img.W+3) / 4, H: int32(img.H+3) / 4, Flip: true}
	if err := view.NewCenter().Render(center, img, view.View{W: int32(img.W), H: int32(img.H)}, 224); err != nil {
		return err
	}
	if err := p.Render(crop, img, box, 64); err != nil {
		return err
	}
	for ending, pix := range map[string][]uint8{"decoded": img.Pix, "center": center, "crop": crop} {
		if err := os.WriteFile(out+"."+ending, pix, 0o644); err != nil {
			return err
		}
	}
	return nil
}
