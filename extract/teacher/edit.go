package teacher

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// EditVersion stands in the producer id of features that come from an edited graph. It changes whenever what an edit makes
// of a graph does.
const EditVersion = 1

// edit adds to a graph what it does not output itself. Nothing that is there changes: nodes and an output are appended to the
// file's bytes, since protobuf merges a message (here ModelProto.graph) that occurs twice.
type edit struct {
	nodes  [][]byte // NodeProto
	output string   // tensor to show
}

// allTokens is appended to the names of tensors that are computed once more, for all tokens.
const allTokens = "/all_tokens"

// apply computes the head's tensor target for all tokens instead of the selected one: its nodes are repeated with the tokens in
// the selection's place. They work on [N, T, D] as on [N, D], since norm and projection go along the last axis; nil where
// a node does not.
func (l *links) apply(h head, target string) *edit {
	needed := map[string]bool{target: true}
	var chain []int
	for _, i := range slices.Backward(h.nodes) {
		n := &l.g.nodes[i]
		if !slices.ContainsFunc(n.outputs, func(out string) bool { return needed[out] }) {
			continue
		}
		if !l.lastAxisOnly(n) {
			return nil
		}
		chain = append(chain, i)
		for _, in := range n.inputs {
			needed[in] = true
		}
	}
	slices.Reverse(chain)
	e := &edit{output: target + allTokens}
	names := map[string]string{h.selected: h.tokens}
	for _, i := range chain {
		for _, out := range l.g.nodes[i].outputs {
			names[out] = out + allTokens
		}
	}
	for _, i := range chain {
		e.nodes = append(e.nodes, l.repeat(&l.g.nodes[i], names)...)
	}
	return e
}

// lastAxisOnly says whether a node computes the same for each token.
func (l *links) lastAxisOnly(n *onnxNode) bool {
	switch n.op {
	case "LayerNormalization":
		axis, ok := n.attribute("axis")
		return !ok || axis.i == -1
	case "ReduceMean":
		return slices.Equal(l.axes(n), []int64{-1})
	case "Gemm": // as torch exports a linear layer
		alpha, hasAlpha := n.attribute("alpha")
		beta, hasBeta := n.attribute("beta")
		transA, _ := n.attribute("transA")
		return transA.i == 0 && (!hasAlpha || alpha.float == 1) && (!hasBeta || beta.float == 1)
	case "Shape", "Expand", "ReduceL2", "ReduceSum":
		return false // of the division by the length, which no feature needs
	}
	return true
}

// repeat writes a node with other tensor names. A Gemm, which takes matrices only, becomes a product and a sum.
func (l *links) repeat(n *onnxNode, names map[string]string) [][]byte {
	named := func(s string) string {
		if other, ok := names[s]; ok {
			return other
		}
		return s
	}
	if n.op != "Gemm" {
		return [][]byte{renamed(n.raw, named)}
	}
	var nodes [][]byte
	weight, out := n.inputs[1], named(n.outputs[0])
	if t, _ := n.attribute("transB"); t.i != 0 {
		transposed := out + "/weight"
		nodes = append(nodes, newNode("Transpose", []string{weight}, transposed))
		weight = transposed
	}
	if len(n.inputs) < 3 || n.inputs[2] == "" {
		return append(nodes, newNode("MatMul", []string{named(n.inputs[0]), weight}, out))
	}
	product := out + "/product"
	return append(nodes, newNode("MatMul", []string{named(n.inputs[0]), weight}, product), newNode("Add", []string{product, n.inputs[2]}, out))
}

// renamed copies a NodeProto with other names of inputs (field 1) and outputs (2), and without its own name (3), which must
// not occur twice.
func renamed(raw []byte, named func(string) string) []byte {
	var to []byte
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeField(raw)
		if n < 0 {
			return nil // it was read before: cannot be
		}
		switch {
		case typ == protowire.BytesType && (num == 1 || num == 2):
			_, _, tag := protowire.ConsumeTag(raw)
			text, _ := protowire.ConsumeString(raw[tag:])
			to = appendString(to, num, named(text))
		case num != 3:
			to = append(to, raw[:n]...)
		}
		raw = raw[n:]
	}
	return to
}

func newNode(op string, inputs []string, output string) []byte {
	var b []byte
	for _, in := range inputs {
		b = appendString(b, 1, in)
	}
	return appendString(appendString(b, 2, output), 4, op)
}

// castNode converts a tensor to float32.
func castNode(input, output string) []byte {
	attribute := appendString(nil, 1, "to")
	attribute = protowire.AppendVarint(protowire.AppendTag(attribute, 3, protowire.VarintType), uint64(Float32))
	attribute = protowire.AppendVarint(protowire.AppendTag(attribute, 20, protowire.VarintType), 2) // INT
	return appendMessage(newNode("Cast", []string{input}, output), 5, attribute)
}

// suffix is what appended to a model's bytes makes the edit.
func (e *edit) suffix() []byte {
	var graph []byte
	for _, n := range e.nodes {
		graph = appendMessage(graph, 1, n)
	}
	tensor := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(Float32))
	value := appendMessage(appendString(nil, 1, e.output), 2, appendMessage(nil, 1, tensor))
	return appendMessage(nil, 7, appendMessage(graph, 12, value))
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendMessage(b []byte, num protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), m)
}

// inFloat32 ends an edit with a conversion: whatever the graph computes in, features leave it as float32.
func inFloat32(nodes [][]byte, tensor string) *edit {
	out := tensor + "/float32"
	return &edit{append(slices.Clone(nodes), castNode(tensor, out)), out}
}

// hasHalf says whether a graph has weights in float16.
func (g *onnxGraph) hasHalf() bool {
	for _, t := range g.tensors {
		if t.elem == Float16 {
			return true
		}
	}
	return false
}

// model gives the bytes of a model that outputs the feature.
func (f Feature) model(m *Model) []byte {
	if f.edit == nil {
		return m.bytes
	}
	return append(m.memory[:len(m.bytes)], f.edit.suffix()...)
}
