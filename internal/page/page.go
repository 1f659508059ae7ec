// Package page writes self-contained HTML pages: style and pictures inside the file, no script, readable in light and dark, on a
// phone and on paper.
package page

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/png"

	"mvptargets/internal/atomicfile"
)

//go:embed style.css
var style string

// funcs are what every page's template may use.
var funcs = template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) },
	"png":   PNG,
}

// Parse reads a page's template; an error in it is a bug.
func Parse(text string, more template.FuncMap) *template.Template {
	return template.Must(template.New("page").Funcs(funcs).Funcs(more).Parse(text))
}

// Write publishes the page at path, whole or not at all.
func Write(path string, t *template.Template, data any) error {
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return fmt.Errorf("page %s: %w", path, err)
	}
	return atomicfile.Write(path, out.Bytes(), 0o644)
}

// PNG is a picture as a data URI.
func PNG(m image.Image) (template.URL, error) {
	var out bytes.Buffer
	if err := png.Encode(&out, m); err != nil {
		return "", err
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(out.Bytes())), nil
}
