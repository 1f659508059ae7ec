package teacher

// links finds a tensor's producer.
type links struct {
	g        *onnxGraph
	producer map[string]int
}

func linksOf(g *onnxGraph) *links {
	l := &links{g, make(map[string]int, len(g.nodes))}
	for i, n := range g.nodes {
		for _, out := range n.outputs {
			l.producer[out] = i
		}
	}
	return l
}

// node gives the producer of a tensor, nil for inputs and weights. Any but a Constant has an input.
func (l *links) node(tensor string) *onnxNode {
	if i, ok := l.producer[tensor]; ok {
		if n := &l.g.nodes[i]; n.op == "Constant" || len(n.inputs) > 0 {
			return n
		}
	}
	return nil
}

// constant says whether a tensor is a weight, or a weight passed through an operator that keeps it one.
func (l *links) constant(tensor string) bool {
	for range maxHeadNodes {
		if tensor == "" || l.g.tensors[tensor] != nil {
			return true
		}
		n := l.node(tensor)
		switch {
		case n == nil:
			return false
		case n.op == "Constant":
			return true
		case (n.op == "Identity" || n.op == "Cast" || n.op == "Transpose") && len(n.inputs) == 1:
			tensor = n.inputs[0]
		default:
			return false
		}
	}
	return false
}

// weight gives a constant's tensor, nil where it is not a plain one.
func (l *links) weight(name string) *onnxTensor {
	if t := l.g.tensors[name]; t != nil {
		return t
	}
	if n := l.node(name); n != nil && n.op == "Constant" {
		if a, ok := n.attribute("value"); ok {
			return a.tensor
		}
	}
	return nil
}

// skipCasts goes back over nodes that do not change values.
func (l *links) skipCasts(tensor string) string {
	for range maxHeadNodes {
		n := l.node(tensor)
		if n == nil || n.op != "Cast" && n.op != "Identity" {
			break
		}
		tensor = n.inputs[0]
	}
	return tensor
}

// isOne says whether a constant is a single integer of that value.
func (l *links) isOne(name string, value int64) bool {
	t := l.weight(name)
	return t != nil && len(t.ints) == 1 && t.ints[0] == value
}

// axes reads a reduction's axes: an attribute up to opset 17, an input from 18 on.
func (l *links) axes(n *onnxNode) []int64 {
	if a, ok := n.attribute("axes"); ok {
		return a.ints
	}
	if len(n.inputs) > 1 {
		if t := l.weight(n.inputs[1]); t != nil {
			return t.ints
		}
	}
	return nil
}

// normInput gives what a layer norm's output was computed from: one node, or taken apart as (x - mean(x)) / sqrt(...) * weight
// + bias.
func (l *links) normInput(tensor string) (string, bool) {
	n := l.node(l.skipCasts(tensor))
	if n != nil && n.op == "LayerNormalization" {
		return n.inputs[0], true
	}
	for _, op := range []string{"Add", "Mul"} {
		if n != nil && n.op == op && len(n.inputs) == 2 {
			rest := n.inputs[0]
			if l.constant(rest) {
				rest = n.inputs[1]
			} else if !l.constant(n.inputs[1]) {
				return "", false
			}
			n = l.node(l.skipCasts(rest))
		}
	}
	if n == nil || n.op != "Div" {
		return "", false
	}
	sub := l.node(l.skipCasts(n.inputs[0]))
	if sub == nil || sub.op != "Sub" || len(sub.inputs) != 2 {
		return "", false
	}
	mean := l.node(sub.inputs[1])
	if mean == nil || mean.op != "ReduceMean" || l.skipCasts(mean.inputs[0]) != l.skipCasts(sub.inputs[0]) {
		return "", false
	}
	return sub.inputs[0], true
}
