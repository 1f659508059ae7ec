package teacher

import (
	"fmt"
	"slices"
	"strings"
)

// Feature is what --features selects.
type Feature struct {
	Name   string // Hidden, Normed, Projected, or an output's name
	Output Value  // [N, tokens, dim]
	How    string // where it comes from, for people

	tensor string // of the graph, as the file has it
	edit   *edit  // nil where the graph outputs it in float32
}

// The --features words that are no names of outputs.
const (
	Hidden    = "hidden"    // what the last block gives, before the last norm
	Normed    = "normed"    // then the layer norm after the last block, of every token
	Projected = "projected" // then the projection into the space that images and texts share, of every token
)

// GraphEdit is the version of the edit that the graph needs for the feature, 0 for none.
func (f Feature) GraphEdit() int {
	if f.edit == nil {
		return 0
	}
	return EditVersion
}

// Features lists what --features can give.
func (m *Model) Features() []Feature {
	l := linksOf(m.graph)
	h, found := m.findHead(l)
	var all []Feature
	add := func(f Feature, ok bool) {
		if ok {
			all = append(all, f)
		}
	}
	add(m.hidden(l, h))
	add(m.normed(l, h))
	if found && h.pooledProj != "" {
		add(m.edited(Projected, l.apply(h, h.pooledProj), "the projection "+h.pooledProj+" applied to all tokens"))
	}
	for _, v := range m.Outputs {
		same := func(f Feature) bool { return f.tensor == v.Name }
		if perToken(v) && !slices.ContainsFunc(all, same) {
			add(m.shown(v.Name, v.Name))
		}
	}
	return all
}

func (m *Model) isOutput(name string) bool {
	return slices.ContainsFunc(m.Outputs, func(v Value) bool { return v.Name == name })
}

func perToken(v Value) bool { return len(v.Dims) == 3 }

// findHead takes the pooled output with a projection if there is one, Hugging Face's name first; where there is no head but
// attention pooling, that.
func (m *Model) findHead(l *links) (best head, found bool) {
	pooled := slices.Clone(m.Outputs)
	slices.SortStableFunc(pooled, func(a, b Value) int {
		if (a.Name == "image_embeds") == (b.Name == "image_embeds") {
			return 0
		} else if a.Name == "image_embeds" {
			return -1
		}
		return 1
	})
	for _, v := range pooled {
		if perToken(v) {
			continue
		}
		h, ok := l.findHead(v.Name)
		if pool, attention := l.attentionPool(v.Name, m.Input.Name); attention && h.hidden == "" {
			h, ok = pool, true
		}
		if ok && (!found || best.pooledProj == "" && h.pooledProj != "") {
			best, found = h, true
		}
	}
	return best, found
}

// hidden is the output of Hugging Face's name (in SigLIP and DINOv2 that is after the norm, so what the norm takes), else what
// the head starts from, else the only output per token.
func (m *Model) hidden(l *links, h head) (Feature, bool) {
	only, count := -1, 0
	for i, v := range m.Outputs {
		if perToken(v) {
			if v.Name == "last_hidden_state" {
				if before, ok := l.normInput(v.Name); ok {
					return m.shown(Hidden, before)
				}
				return m.shown(Hidden, v.Name)
			}
			only, count = i, count+1
		}
	}
	if h.hidden != "" {
		return m.shown(Hidden, h.hidden)
	}
	if count == 1 {
		return m.shown(Hidden, m.Outputs[only].Name)
	}
	return Feature{}, false
}

// normed is a tensor of the graph where the norm comes before the choice of a token, else the norm applied to all tokens.
func (m *Model) normed(l *links, h head) (Feature, bool) {
	if h.normed != "" {
		return m.shown(Normed, h.normed)
	}
	if h.pooledNorm != "" {
		return m.edited(Normed, l.apply(h, h.pooledNorm), "the norm "+h.pooledNorm+" applied to all tokens")
	}
	for _, v := range m.Outputs {
		if _, ok := l.normInput(v.Name); ok && perToken(v) {
			return m.shown(Normed, v.Name)
		}
	}
	return Feature{}, false
}

// shown is a tensor of the graph: an output, or exposed.
func (m *Model) shown(name, tensor string) (Feature, bool) {
	for _, v := range m.Outputs {
		if v.Name != tensor {
			continue
		}
		f := Feature{Name: name, Output: v, How: "output " + v.String(), tensor: tensor}
		if v.Elem != Float32 {
			f.edit = inFloat32(nil, tensor)
			f.Output.Name, f.Output.Elem = f.edit.output, Float32
		}
		return f, true
	}
	f, ok := m.edited(name, &edit{output: tensor}, "inner tensor "+tensor)
	f.tensor = tensor
	return f, ok
}

// edited is what an edit shows, converted to float32 if the model's weights are not.
func (m *Model) edited(name string, e *edit, how string) (Feature, bool) {
	if e == nil {
		return Feature{}, false
	}
	if m.graph.hasHalf() {
		e = inFloat32(e.nodes, e.output)
	}
	return Feature{Name: name, Output: Value{Name: e.output, Elem: Float32, Dims: make([]Dim, 3)}, How: how, edit: e}, true
}

// Feature finds what --features name asks for.
func (m *Model) Feature(name string) (Feature, error) {
	known := m.Features()
	var names []string
	for _, f := range known {
		if f.Name == name || f.tensor == name && m.isOutput(name) {
			return f, nil
		}
		names = append(names, f.Name)
	}
	if len(known) == 0 {
		return Feature{}, fmt.Errorf("%s gives no features per patch: its outputs are %s, and no head of a CLIP tower was found before them; export it with last_hidden_state among its outputs", m.Path, list(m.Outputs))
	}
	return Feature{}, fmt.Errorf("%s does not offer --features %s; it offers %s", m.Path, name, strings.Join(names, ", "))
}
