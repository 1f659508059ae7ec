package sample

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"strings"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"mvptargets/internal/atomicfile"
	"mvptargets/internal/page"
	"mvptargets/internal/pca"
	"mvptargets/shards"
)

// Pair is a view beside its features in colours.
type Pair struct {
	Sample
	Class            string // "" where there is none, and where the key begins with it
	Image, Principal *image.RGBA
}

// Pairs colours the features of all samples, rendered at size pixels, in one basis.
func Pairs(m shards.Manifest, samples []Sample, size int) ([]Pair, *pca.Basis, error) {
	var all []float32
	for _, s := range samples {
		all = append(all, s.Features...)
	}
	basis, err := pca.Fit(all, m.Dim)
	if err != nil {
		return nil, nil, err
	}
	var pairs []Pair
	for _, s := range samples {
		p := Pair{Sample: s, Image: Picture(s.Pixels, size), Principal: basis.Picture(s.Features, m.Grid[0], m.Grid[1])}
		if s.Label >= 0 && int(s.Label) < len(m.Classes) && !strings.HasPrefix(s.Key, m.Classes[s.Label]+"/") {
			p.Class = m.Classes[s.Label]
		}
		pairs = append(pairs, p)
	}
	return pairs, basis, nil
}

// Caption names the view: its image, and the crop where it is not the whole.
func (p Pair) Caption() string {
	text := fmt.Sprintf("view %d", p.View.Index)
	if v := p.View; v.X != 0 || v.Y != 0 || v.Flip {
		text += fmt.Sprintf(", %dx%d at %d,%d", v.W, v.H, v.X, v.Y)
	}
	if p.View.Flip {
		text += ", mirrored"
	}
	return text
}

// Write publishes the pairs as one picture or one page, as path's extension says.
func Write(path string, s *shards.Store, pairs []Pair, basis *pca.Basis) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".html":
		return page.Write(path, sheetPage, map[string]any{"Dir": s.Dir(), "Manifest": s.Manifest(), "Pairs": pairs, "Basis": basis})
	case ".png":
		var out bytes.Buffer
		if err := png.Encode(&out, sheet(pairs)); err != nil {
			return err
		}
		return atomicfile.Write(path, out.Bytes(), 0o644)
	}
	return fmt.Errorf("%s is neither .png nor .html", path)
}

// Measures of the picture, in pixels.
const (
	cell    = 224 // a view, and its features
	gap     = 8
	caption = 36 // two lines
	perLine = 3  // pairs beside each other
)

// sheet lays the pairs out in lines, each with its key below.
func sheet(pairs []Pair) *image.RGBA {
	columns := min(perLine, len(pairs))
	lines := (len(pairs) + columns - 1) / columns
	out := image.NewRGBA(image.Rect(0, 0, columns*(2*cell+3*gap)+gap, lines*(cell+caption+gap)+gap))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	for i, p := range pairs {
		x, y := gap+i%columns*(2*cell+3*gap), gap+i/columns*(cell+caption+gap)
		at := func(x int) image.Rectangle { return image.Rect(x, y, x+cell, y+cell) }
		draw.CatmullRom.Scale(out, at(x), p.Image, p.Image.Bounds(), draw.Src, nil)
		draw.NearestNeighbor.Scale(out, at(x+cell+gap), p.Principal, p.Principal.Bounds(), draw.Src, nil)
		write(out, x, y+cell+15, p.Key)
		write(out, x, y+cell+30, p.Caption())
	}
	return out
}

// write prints the end of a text that fits below a pair. The font has ASCII; other letters show as boxes.
func write(out *image.RGBA, x, y int, text string) {
	face := basicfont.Face7x13
	if most, r := (2*cell+gap)/face.Advance, []rune(text); len(r) > most {
		text = "..." + string(r[len(r)-most+3:])
	}
	d := font.Drawer{Dst: out, Src: image.NewUniform(color.Gray{60}), Face: face, Dot: fixed.P(x, y)}
	d.DrawString(text)
}

//go:embed sheet.html
var sheetText string

var sheetPage = page.Parse(sheetText, template.FuncMap{"percent": func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }})
