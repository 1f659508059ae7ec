package teacher

import "slices"

// head is what stands between the last hidden state and the pooled output of a CLIP-like tower. Two orders occur:
//
//	Hugging Face, OpenAI:  tokens -> select the class token -> layer norm -> projection
//	OpenCLIP:              tokens -> layer norm -> select -> projection
//
// Names are tensors of the graph; "" where the tower has none.
type head struct {
	hidden string // [N, T, D] before the norm
	normed string // [N, T, D] after it, where the graph computes it for all tokens

	tokens     string // what a token is selected from
	selected   string // what the selection gives, [N, D]
	nodes      []int  // from the selection (excluded) to the pooled output, in the graph's order
	pooledNorm string // [N, D] after the norm, where it follows the selection
	pooledProj string // [N, P] after the projection
}

// headOps are the operators that a head may consist of: norms (whole or taken apart), projection, division by the length.
var headOps = map[string]bool{
	"Add": true, "Cast": true, "Clip": true, "Div": true, "Expand": true, "Gemm": true, "Identity": true, "LayerNormalization": true,
	"MatMul": true, "Max": true, "Mul": true, "Pow": true, "Reciprocal": true, "ReduceL2": true, "ReduceMean": true, "ReduceSum": true,
	"Shape": true, "Sqrt": true, "Sub": true,
}

const maxHeadNodes = 64

// findHead looks for the head behind the pooled output of that name.
func (l *links) findHead(pooled string) (h head, ok bool) {
	seen := map[string]bool{}
	queue := []string{pooled}
	for len(queue) > 0 {
		tensor := queue[0]
		queue = queue[1:]
		if seen[tensor] || l.constant(tensor) {
			continue
		}
		seen[tensor] = true
		if from, ok := l.selection(tensor); ok {
			if h.selected != "" {
				return head{}, false
			}
			h.selected, h.tokens = tensor, from
			continue
		}
		n := l.node(tensor)
		if n == nil || !headOps[n.op] || len(h.nodes) >= maxHeadNodes {
			return head{}, false
		}
		h.nodes = append(h.nodes, l.producer[tensor])
		queue = append(queue, n.inputs...)
	}
	if h.selected == "" {
		return head{}, false
	}
	slices.Sort(h.nodes)
	l.findParts(&h, pooled)
	return h, true
}

// findParts tells norm and projection apart.
func (l *links) findParts(h *head, pooled string) {
	last := pooled
	for _, i := range h.nodes {
		n := &l.g.nodes[i]
		if (n.op == "MatMul" || n.op == "Gemm") && len(n.inputs) > 1 && l.constant(n.inputs[1]) {
			h.pooledProj, last = n.outputs[0], n.inputs[0]
			if next := l.bias(h, n.outputs[0]); next != "" {
				h.pooledProj = next
			}
			break
		}
	}
	if x, ok := l.normInput(last); ok && l.skipCasts(x) == h.selected {
		h.pooledNorm, h.hidden = last, h.tokens
		return
	}
	if x, ok := l.normInput(h.tokens); ok {
		h.normed, h.hidden = h.tokens, x
	}
	if l.skipCasts(last) != h.selected { // something between selection and projection that is not understood
		h.pooledProj = ""
	}
}

// bias gives the sum of a projection and its bias, "" where it has none.
func (l *links) bias(h *head, tensor string) string {
	for _, i := range h.nodes {
		n := &l.g.nodes[i]
		if n.op == "Add" && len(n.inputs) == 2 && (n.inputs[0] == tensor && l.constant(n.inputs[1]) || n.inputs[1] == tensor && l.constant(n.inputs[0])) {
			return n.outputs[0]
		}
	}
	return ""
}

// selection says whether a tensor is one token, or the mean of all, of a tensor [N, T, D], and of which.
func (l *links) selection(tensor string) (from string, ok bool) {
	n := l.node(tensor)
	if n == nil || len(n.inputs) == 0 {
		return "", false
	}
	switch n.op {
	case "Gather": // x[:, 0]
		axis, _ := n.attribute("axis")
		if len(n.inputs) == 2 && axis.i == 1 && l.isOne(n.inputs[1], 0) {
			return n.inputs[0], true
		}
	case "Squeeze", "Reshape": // x[:, 0:1] with the axis dropped
		if s := l.node(n.inputs[0]); s != nil && s.op == "Slice" && len(s.inputs) >= 4 && l.isOne(s.inputs[1], 0) && l.isOne(s.inputs[2], 1) && l.isOne(s.inputs[3], 1) {
			return s.inputs[0], true
		}
	case "ReduceMean": // over tokens, perhaps without the class token
		if slices.Equal(l.axes(n), []int64{1}) {
			if s := l.node(n.inputs[0]); s != nil && s.op == "Slice" && len(s.inputs) >= 4 && l.isOne(s.inputs[3], 1) {
				return s.inputs[0], true
			}
			return n.inputs[0], true
		}
	}
	return "", false
}
