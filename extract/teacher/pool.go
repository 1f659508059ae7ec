package teacher

import "slices"

// attentionPool looks for the other kind of head: SigLIP's pooling by attention, whose query is learned and not made from the
// image (Zhai et al. 2022, "multihead attention pooling"). Its values are made from the normed tokens.
func (l *links) attentionPool(pooled, image string) (head, bool) {
	product, ok := l.nearest(pooled, func(_ string, n *onnxNode) bool { return l.softmaxOf(n) != nil })
	if !ok {
		return head{}, false
	}
	attention := l.node(product)
	if l.queryDepends(l.softmaxOf(attention), l.dependents([]string{image}, false)) {
		return head{}, false // that of a block: there is no pooling by attention
	}
	normed, ok := l.nearest(attention.inputs[1], func(tensor string, _ *onnxNode) bool {
		_, isNorm := l.normInput(tensor)
		return isNorm
	})
	if !ok {
		return head{}, false
	}
	hidden, _ := l.normInput(normed)
	return head{hidden: hidden, normed: normed}, true
}

// softmaxOf gives the softmax of an attention whose product with the values n is, nil of any other node.
func (l *links) softmaxOf(n *onnxNode) *onnxNode {
	if n.op != "MatMul" || len(n.inputs) != 2 {
		return nil
	}
	if soft := l.node(l.skipCasts(n.inputs[0])); soft != nil && soft.op == "Softmax" {
		return soft
	}
	return nil
}

// queryDepends says whether an attention's query is one of depends. Scaling may stand between its product and the softmax.
func (l *links) queryDepends(soft *onnxNode, depends map[string]bool) bool {
	product, ok := l.nearest(soft.inputs[0], func(_ string, n *onnxNode) bool { return n.op == "MatMul" })
	return !ok || depends[l.node(product).inputs[0]]
}

// nearest goes back from a tensor to the nearest that is, among the first few hundred nodes.
func (l *links) nearest(tensor string, is func(tensor string, n *onnxNode) bool) (string, bool) {
	const most = 400
	seen, queue := map[string]bool{}, []string{tensor}
	for len(queue) > 0 && len(seen) < most {
		tensor, queue = queue[0], queue[1:]
		n := l.node(tensor)
		if n == nil || seen[tensor] {
			continue
		}
		if is(tensor, n) {
			return tensor, true
		}
		seen[tensor] = true
		queue = append(queue, n.inputs...)
	}
	return "", false
}

// dependents are the tensors whose values are made from the sources; with shapes also those made from a source's shape.
func (l *links) dependents(sources []string, shapes bool) map[string]bool {
	depends := map[string]bool{}
	for _, s := range sources {
		depends[s] = true
	}
	for i := range l.g.nodes { // in the order of computation
		n := &l.g.nodes[i]
		if n.op == "Shape" && !shapes || !slices.ContainsFunc(n.inputs, func(in string) bool { return depends[in] }) {
			continue
		}
		for _, out := range n.outputs {
			depends[out] = true
		}
	}
	return depends
}
