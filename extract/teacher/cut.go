package teacher

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// cut keeps of a file that takes more than an image, such as a whole CLIP as Optimum exports it, what can be computed from the
// image alone. A file from which nothing can stays as it is. The digest stays that of the file.
func (m *Model) cut() error {
	image, others := m.splitInputs()
	if image == "" || len(others) == 0 {
		return nil
	}
	l := linksOf(m.graph)
	foreign, ours := l.dependents(others, true), l.dependents([]string{image}, true)
	keep := map[string]bool{image: true}
	found := false
	for _, v := range m.Outputs {
		if ours[v.Name] && !foreign[v.Name] {
			keep[v.Name], found = true, true
		}
	}
	if !found {
		return nil
	}
	for _, n := range slices.Backward(m.graph.nodes) {
		if !slices.ContainsFunc(n.outputs, func(out string) bool { return keep[out] }) {
			continue
		}
		if n.graphs {
			return nil // what its inner graphs use is not among its inputs
		}
		for _, name := range slices.Concat(n.inputs, n.outputs) {
			keep[name] = true
		}
	}
	smaller, err := newRegion(len(m.bytes) + roomForEdit)
	if err != nil {
		return err
	}
	written := cutModel(smaller[:0], m.bytes, keep)
	m.memory.free()
	m.memory, m.bytes = smaller, smaller[:len(written)]
	m.graph, err = parseONNX(m.bytes)
	if err != nil {
		return err
	}
	m.Outputs, m.LeftOut = m.graph.outputs, others
	return nil
}

// splitInputs tells the one input that may be an image batch from the others.
func (m *Model) splitInputs() (image string, others []string) {
	for _, v := range m.inputs() {
		if len(v.Dims) == 4 && (v.Elem == Float32 || v.Elem == Float16) && image == "" {
			image = v.Name
		} else {
			others = append(others, v.Name)
		}
	}
	return image, others
}

// cutModel copies a ModelProto with those nodes, weights, inputs and outputs of its graph that are kept, and without notes on
// shapes between them. The file was read before, so that nothing in it can be malformed.
func cutModel(to, model []byte, keep map[string]bool) []byte {
	var graph []byte
	eachField(model, func(num protowire.Number, whole, value []byte) {
		if num != 7 {
			to = append(to, whole...)
			return
		}
		eachField(value, func(num protowire.Number, whole, value []byte) {
			kept := true
			switch num {
			case 1: // node: by any of its outputs
				kept = anyOf(value, 2, keep)
			case 5: // initializer
				kept = anyOf(value, 8, keep)
			case 11, 12: // input, output
				kept = anyOf(value, 1, keep)
			case 13, 14: // value_info, quantization_annotation
				kept = false
			}
			if kept {
				graph = append(graph, whole...)
			}
		})
	})
	return appendMessage(to, 7, graph)
}

// anyOf says whether a message has a string field of that number that is kept.
func anyOf(message []byte, field protowire.Number, keep map[string]bool) bool {
	found := false
	eachField(message, func(num protowire.Number, _, value []byte) {
		found = found || num == field && keep[string(value)]
	})
	return found
}

// eachField calls f with each field of a message: all its bytes, and the value of a length-delimited one.
func eachField(b []byte, f func(num protowire.Number, whole, value []byte)) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return
		}
		var value []byte
		if typ == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(b)
			value, _ = protowire.ConsumeBytes(b[tag:])
		}
		f(num, b[:n], value)
		b = b[n:]
	}
}
