package main

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"

	"mvptargets/shards/view"
)

// Size of the pictures, that of ImageNet's average.
const width, height = 500, 375

// makePictures fills a folder with n JPEG files of real content: windows of the photographs in from, each at another place.
func makePictures(folder, from string, n int) error {
	photos, err := readPhotos(from)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		photo := photos[i%len(photos)]
		x, y := r.IntN(photo.W-width+1), r.IntN(photo.H-height+1)
		window := image.NewRGBA(image.Rect(0, 0, width, height))
		for row := range height {
			for col := range width {
				copy(window.Pix[row*window.Stride+4*col:], photo.Pix[3*((y+row)*photo.W+x+col):][:3])
				window.Pix[row*window.Stride+4*col+3] = 255
			}
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, window, &jpeg.Options{Quality: 90}); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%05d.jpg", i)), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// readPhotos decodes the JPEG photographs in a folder that are large enough.
func readPhotos(folder string) ([]*view.Image, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.jpg"))
	if err != nil {
		return nil, err
	}
	decoder := view.NewDecoder()
	var photos []*view.Image
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		if m, err := decoder.Decode(data); err == nil && m.W >= width && m.H >= height {
			photos = append(photos, m)
		}
	}
	if len(photos) == 0 {
		return nil, fmt.Errorf("%s holds no JPEG of %dx%d pixels or more", folder, width, height)
	}
	return photos, nil
}
