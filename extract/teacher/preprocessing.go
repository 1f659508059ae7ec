package teacher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Preprocessing is what the teacher expects of its pixels: (value/255 - Mean) / Std per channel, R, G, B.
type Preprocessing struct {
	Mean, Std [3]float32
	// From is the file that the settings were read from, "" for CLIP's own.
	From string
	// Crop is the input's side that the settings name, 0 where they do not.
	Crop int
}

// CLIP's normalization (openai/CLIP, clip.py, _transform).
var (
	clipMean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	clipStd  = [3]float32{0.26862954, 0.26130258, 0.27577711}
)

// preprocessorFile is the name that Hugging Face's image processors save their settings under.
const preprocessorFile = "preprocessor_config.json"

// readPreprocessing reads preprocessor_config.json in dir; CLIP's settings where there is none.
func readPreprocessing(dir string) (Preprocessing, error) {
	path := filepath.Join(dir, preprocessorFile)
	p := Preprocessing{Mean: clipMean, Std: clipStd}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the teacher's preprocessing: %w", err)
	}
	var config struct {
		Mean     []float32       `json:"image_mean"`
		Std      []float32       `json:"image_std"`
		Rescale  *float64        `json:"rescale_factor"`
		Size     json.RawMessage `json:"size"`
		CropSize json.RawMessage `json:"crop_size"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return p, fmt.Errorf("%s: %w; mend or remove it", path, err)
	}
	p.From = path
	for _, list := range []struct {
		name string
		from []float32
		to   *[3]float32
	}{{"image_mean", config.Mean, &p.Mean}, {"image_std", config.Std, &p.Std}} {
		if list.from == nil {
			continue
		}
		if len(list.from) != 3 {
			return p, fmt.Errorf("%s: %s has %d numbers, not 3; mend or remove it", path, list.name, len(list.from))
		}
		copy(list.to[:], list.from)
	}
	for _, s := range p.Std {
		if !(s > 0) {
			return p, fmt.Errorf("%s: image_std %v is not positive; mend or remove it", path, p.Std)
		}
	}
	if r := config.Rescale; r != nil && (*r < 0.99/255 || *r > 1.01/255) {
		return p, fmt.Errorf("%s: rescale_factor %g is not 1/255, the only one supported", path, *r)
	}
	if p.Crop = side(config.CropSize); p.Crop == 0 {
		p.Crop = side(config.Size)
	}
	return p, nil
}

// side reads a size as the image processors write it: a number, {"height": h, "width": h} or {"shortest_edge": s}.
func side(raw json.RawMessage) int {
	var n int
	if json.Unmarshal(raw, &n) == nil {
		return max(n, 0)
	}
	var named struct {
		Height   int `json:"height"`
		Width    int `json:"width"`
		Shortest int `json:"shortest_edge"`
	}
	if json.Unmarshal(raw, &named) != nil || named.Height != named.Width {
		return 0
	}
	return max(named.Height, named.Shortest, 0)
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
