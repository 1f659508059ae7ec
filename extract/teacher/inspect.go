package teacher

import (
	"fmt"
	"io"
	"strings"
)

// Inspect writes what a model file is and what --features can give of it.
func (m *Model) Inspect(w io.Writer) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%-11s "+format+"\n", append([]any{label}, args...)...)
	}
	line("model", "%s", m.Path)
	for _, f := range m.Files {
		line("", "%s %s", f.SHA256, f.Name)
	}
	line("input", "%v", m.Input)
	if len(m.LeftOut) > 0 {
		line("left out", "%s, and all that needs them", strings.Join(m.LeftOut, ", "))
	}
	for i, v := range m.Outputs {
		label := ""
		if i == 0 {
			label = "outputs"
		}
		line(label, "%v", v)
	}
	line("image", "%dx%d pixels", m.Size, m.Size)
	if m.Patch > 0 {
		line("patches", "%dx%d of %dx%d pixels", m.Size/m.Patch, m.Size/m.Patch, m.Patch, m.Patch)
	}
	from := m.From
	if from == "" {
		from = "CLIP's; no " + preprocessorFile + " beside the model"
	}
	resize := fmt.Sprintf("the short side to %d, then the middle", max(m.Short, m.Size))
	if m.Stretch {
		resize = "the whole image, stretched"
	}
	line("resize", "%s", resize)
	line("mean", "%v", m.Mean)
	line("std", "%v (%s)", m.Std, from)
	features := m.Features()
	if len(features) == 0 {
		line("--features", "none: no output has a value per token, and no head of a CLIP tower was found")
	}
	for i, f := range features {
		label := ""
		if i == 0 {
			label = "--features"
		}
		line(label, "%s: %s%s", f.Name, f.How, m.describeTokens(f))
	}
}

// describeTokens says what an output's tokens are. Where the graph leaves their number open the model is run once.
func (m *Model) describeTokens(f Feature) string {
	tokens, dim, why := f.Output.Dims[1].N, f.Output.Dims[2].N, ""
	if tokens == 0 || dim == 0 {
		s, err := m.Open(f, Options{Provider: "cpu", Precision: "f32", Batch: 1})
		if err != nil {
			return fmt.Sprintf(", of a size that is not known: %v", err)
		}
		defer s.Close()
		tokens, dim, why = s.Tokens, s.Dim, " (found by running it)"
	}
	grid, prefix, err := m.layout(tokens)
	what := ""
	switch {
	case err != nil:
		return ", which is no grid of patches"
	case prefix == 1:
		what = "class token + "
	case prefix > 1:
		what = fmt.Sprintf("class token + %d registers + ", prefix-1)
	}
	return fmt.Sprintf(", %s%dx%d patches of %d numbers%s", what, grid, grid, dim, why)
}
