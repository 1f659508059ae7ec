package teacher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Preprocessing is what the teacher expects of its pixels: (value/255 - Mean) / Std per channel, R, G, B, of an image that
// was resized bicubically.
type Preprocessing struct {
	Mean, Std [3]float32
	// From says where the settings come from, "" for CLIP's own.
	From string
	// Crop is the input's side that the settings name, 0 where they do not.
	Crop int
	// Short is what the short side is resized to before the middle is cut out, 0 for the input's side.
	Short int
	// Stretch says that the whole image is resized to the input's size, whatever its shape.
	Stretch bool
}

// Settings are preprocessing that the user gives, which goes before what is beside the model.
type Settings struct {
	Size      int         // side of the input image in pixels, 0: not given
	Mean, Std *[3]float32 // nil: not given
	Resize    string      // Stretch, or the short side's pixels; "": not given
}

// Stretch is the word for resizing the whole image to the input's size.
const Stretch = "stretch"

// maxShort is the most pixels that an image's short side is resized to: four times the largest input of a teacher.
const maxShort = 1 << 14

// CLIP's normalization (openai/CLIP, clip.py, _transform).
var (
	clipMean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	clipStd  = [3]float32{0.26862954, 0.26130258, 0.27577711}
)

// preprocessorFile is the name that Hugging Face's image processors save their settings under.
const preprocessorFile = "preprocessor_config.json"

// processorConfig is what an image processor of Hugging Face saves, as far as it matters.
type processorConfig struct {
	Mean      []float32       `json:"image_mean"`
	Std       []float32       `json:"image_std"`
	Rescale   *float64        `json:"rescale_factor"`
	Resample  *int            `json:"resample"`
	Size      json.RawMessage `json:"size"`
	CropSize  json.RawMessage `json:"crop_size"`
	DoCrop    *bool           `json:"do_center_crop"`
	DoNormal  *bool           `json:"do_normalize"`
	DoRescale *bool           `json:"do_rescale"`
}

// readPreprocessing reads preprocessor_config.json in dir, CLIP's settings where there is none, and puts what the user gave over it.
func readPreprocessing(dir string, set Settings) (Preprocessing, error) {
	p, err := fromFile(filepath.Join(dir, preprocessorFile), set)
	if err != nil {
		return p, err
	}
	if set.Mean != nil {
		p.Mean, p.From = *set.Mean, "as given"
	}
	if set.Std != nil {
		p.Std, p.From = *set.Std, "as given"
	}
	switch {
	case set.Resize == Stretch:
		p.Short, p.Stretch = 0, true
	case set.Resize != "":
		n, err := strconv.Atoi(set.Resize)
		if err != nil || n < 1 {
			return p, fmt.Errorf("--resize %s is neither %s nor the short side's pixels", set.Resize, Stretch)
		}
		p.Short, p.Stretch = n, false
	}
	if p.Short > maxShort {
		return p, fmt.Errorf("%s: images resized to a short side of %d pixels, more than %d; give another with --resize", dir, p.Short, maxShort)
	}
	return p, nil
}

func fromFile(path string, set Settings) (Preprocessing, error) {
	p := Preprocessing{Mean: clipMean, Std: clipStd}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the teacher's preprocessing: %w", err)
	}
	var c processorConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return p, fmt.Errorf("%s: %w; mend or remove it", path, err)
	}
	p.From = path
	if err := p.normal(&c, path); err != nil {
		return p, err
	}
	const bicubic = 3 // PIL.Image.Resampling
	if c.Resample != nil && *c.Resample != bicubic && set.Resize == "" {
		return p, fmt.Errorf("%s: resample %d is not bicubic (%d), the only filter here; with --resize given, images are resized bicubically all the same", path, *c.Resample, bicubic)
	}
	p.resize(&c)
	return p, nil
}

// normal takes mean, std and the factor before them from a processor's settings.
func (p *Preprocessing) normal(c *processorConfig, path string) error {
	if c.DoNormal != nil && !*c.DoNormal {
		p.Mean, p.Std = [3]float32{}, [3]float32{1, 1, 1}
		c.Mean, c.Std = nil, nil
	}
	for _, list := range []struct {
		name string
		from []float32
		to   *[3]float32
	}{{"image_mean", c.Mean, &p.Mean}, {"image_std", c.Std, &p.Std}} {
		if list.from == nil {
			continue
		}
		if len(list.from) != 3 {
			return fmt.Errorf("%s: %s has %d numbers, not 3; mend or remove it", path, list.name, len(list.from))
		}
		copy(list.to[:], list.from)
	}
	for _, s := range p.Std {
		if !(s > 0) {
			return fmt.Errorf("%s: image_std %v is not positive; mend or remove it", path, p.Std)
		}
	}
	if r := c.Rescale; r != nil && (*r < 0.99/255 || *r > 1.01/255) {
		return fmt.Errorf("%s: rescale_factor %g is not 1/255, the only one supported", path, *r)
	}
	if c.DoRescale != nil && !*c.DoRescale {
		return fmt.Errorf("%s: do_rescale is false; only pixels divided by 255 are supported", path)
	}
	return nil
}

// resize takes the sizes: a crop from an image whose short side was resized, as CLIP and DINOv2 do, or the whole image stretched, as
// SigLIP does.
func (p *Preprocessing) resize(c *processorConfig) {
	size, short := side(c.Size)
	crop, _ := side(c.CropSize)
	if c.DoCrop != nil && !*c.DoCrop {
		crop = 0
	}
	switch {
	case crop > 0:
		p.Crop = crop
		if size > crop {
			p.Short = size
		}
	case size > 0:
		p.Crop, p.Stretch = size, !short
	}
}

// side reads a size as the image processors write it: a number, {"height": h, "width": h} or {"shortest_edge": s}; short says that it
// is the last.
func side(raw json.RawMessage) (n int, short bool) {
	if json.Unmarshal(raw, &n) == nil {
		return max(n, 0), false
	}
	var named struct {
		Height   int `json:"height"`
		Width    int `json:"width"`
		Shortest int `json:"shortest_edge"`
	}
	if json.Unmarshal(raw, &named) != nil || named.Height != named.Width {
		return 0, false
	}
	return max(named.Height, named.Shortest, 0), named.Shortest > 0
}

// normalization maps each channel's 256 grey levels to what the teacher takes, in float32 as numpy computes it.
func (p Preprocessing) normalization() (table [3][256]float32) {
	for c := range table {
		for v := range table[c] {
			table[c][v] = (float32(v)/255 - p.Mean[c]) / p.Std[c]
		}
	}
	return table
}
