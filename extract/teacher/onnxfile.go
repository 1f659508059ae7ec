package teacher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The part of an ONNX file that says what a model takes, gives and is made of, read from the protobuf itself
// (onnx/onnx.proto, field numbers below). Weights are not copied: byte fields point into the file's bytes.
type onnxGraph struct {
	inputs, outputs []Value
	nodes           []onnxNode
	tensors         map[string]*onnxTensor // initializers by name
	external        []string               // locations of external data, in order of appearance, each once
}

type onnxNode struct {
	op      string
	inputs  []string
	outputs []string
	attrs   [][]byte // AttributeProto messages, read on demand
	raw     []byte   // the whole NodeProto
	graphs  bool     // an attribute holds a graph
}

type onnxTensor struct {
	name     string
	elem     ElemType
	dims     []int64
	ints     []int64 // the values of a short list of int64, such as an index or axes
	external string  // location of the data, "" where it is in the file
}

// Bounds on what a file may make us hold. Real vision towers have a few thousand nodes.
const (
	maxNodes   = 1 << 20
	maxStrings = 1 << 22
	maxDims    = 16
	maxDepth   = 8 // graphs in attributes in graphs
)

var errNoGraph = errors.New("it holds no graph")

// parseONNX reads a ModelProto.
func parseONNX(data []byte) (*onnxGraph, error) {
	p := &parser{graph: &onnxGraph{tensors: map[string]*onnxTensor{}}, seen: map[string]bool{}}
	found := false
	err := fields(data, func(num protowire.Number, f field) error {
		if num != 7 || f.bytes == nil { // ModelProto.graph
			return nil
		}
		found = true
		return p.parseGraph(f.bytes, 0)
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNoGraph
	}
	return p.graph, nil
}

// field is one field's value: bytes for length-delimited ones, else varint (or the bits of a fixed one).
type field struct {
	bytes  []byte
	varint uint64
}

// fields calls f for every field of a message, in file order.
func fields(b []byte, f func(num protowire.Number, v field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v field
		switch typ {
		case protowire.VarintType:
			v.varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
			if v.bytes == nil {
				v.bytes = []byte{}
			}
		case protowire.Fixed32Type:
			var x uint32
			x, n = protowire.ConsumeFixed32(b)
			v.varint = uint64(x)
		case protowire.Fixed64Type:
			v.varint, n = protowire.ConsumeFixed64(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(num, v); err != nil {
			return err
		}
	}
	return nil
}

type parser struct {
	graph   *onnxGraph
	seen    map[string]bool // external locations
	strings int
}

func (p *parser) text(b []byte) (string, error) {
	if p.strings++; p.strings > maxStrings {
		return "", fmt.Errorf("it has more than %d names", maxStrings)
	}
	return string(b), nil
}

// parseGraph reads a GraphProto. Of graphs inside attributes (depth > 0) only the external data matters.
func (p *parser) parseGraph(b []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("its graphs are nested more than %d deep", maxDepth)
	}
	return fields(b, func(num protowire.Number, f field) error {
		if f.bytes == nil {
			return nil
		}
		switch num {
		case 1:
			return p.parseNode(f.bytes, depth)
		case 5:
			t, err := p.parseTensor(f.bytes)
			if err == nil && depth == 0 {
				p.graph.tensors[t.name] = t
			}
			return err
		case 11, 12:
			if depth > 0 {
				return nil
			}
			v, err := p.parseValue(f.bytes)
			if err != nil {
				return err
			}
			if num == 11 {
				p.graph.inputs = append(p.graph.inputs, v)
			} else {
				p.graph.outputs = append(p.graph.outputs, v)
			}
		}
		return nil
	})
}

// parseNode reads a NodeProto.
func (p *parser) parseNode(b []byte, depth int) error {
	n := onnxNode{raw: b}
	err := fields(b, func(num protowire.Number, f field) error {
		if f.bytes == nil {
			return nil
		}
		var s string
		var err error
		switch num {
		case 1:
			if s, err = p.text(f.bytes); err == nil {
				n.inputs = append(n.inputs, s)
			}
		case 2:
			if s, err = p.text(f.bytes); err == nil {
				n.outputs = append(n.outputs, s)
			}
		case 4:
			n.op, err = p.text(f.bytes)
		case 5:
			n.attrs = append(n.attrs, f.bytes)
			err = p.parseAttribute(f.bytes, depth, &n)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(p.graph.nodes) >= maxNodes {
		return fmt.Errorf("it has more than %d nodes", maxNodes)
	}
	if depth == 0 {
		p.graph.nodes = append(p.graph.nodes, n)
	}
	return nil
}

// parseAttribute follows an AttributeProto's tensors and graphs, which may refer to external data.
func (p *parser) parseAttribute(b []byte, depth int, n *onnxNode) error {
	return fields(b, func(num protowire.Number, f field) error {
		if f.bytes == nil {
			return nil
		}
		switch num {
		case 5, 10: // t, tensors
			_, err := p.parseTensor(f.bytes)
			return err
		case 6, 11: // g, graphs
			n.graphs = true
			return p.parseGraph(f.bytes, depth+1)
		}
		return nil
	})
}

// parseTensor reads a TensorProto's head and leaves its data alone.
func (p *parser) parseTensor(b []byte) (*onnxTensor, error) {
	t := &onnxTensor{}
	location, outside := "", false
	var raw []byte
	err := fields(b, func(num protowire.Number, f field) (err error) {
		switch num {
		case 1:
			t.dims, err = appendInts(t.dims, f, maxDims)
		case 2:
			t.elem = ElemType(f.varint)
		case 7:
			t.ints, err = appendInts(t.ints, f, maxDims)
			if err != nil { // a long list is none that we read
				t.ints, err = nil, nil
			}
		case 8:
			t.name, err = p.text(f.bytes)
		case 9:
			raw = f.bytes
		case 13:
			location, err = p.parseLocation(f.bytes, location)
		case 14:
			outside = f.varint == 1
		}
		return err
	})
	if err != nil {
		return t, err
	}
	if t.elem != Int64 {
		t.ints = nil
	} else if len(raw) > 0 && len(raw) <= 8*maxDims {
		for ; len(raw) >= 8; raw = raw[8:] {
			t.ints = append(t.ints, int64(binary.LittleEndian.Uint64(raw)))
		}
	}
	if !outside {
		return t, nil
	}
	if location == "" {
		return nil, fmt.Errorf("tensor %q is stored outside the file, but not said where", t.name)
	}
	t.external = location
	if !p.seen[location] {
		p.seen[location] = true
		p.graph.external = append(p.graph.external, location)
	}
	return t, nil
}

// parseLocation reads one StringStringEntryProto of a tensor's external data.
func (p *parser) parseLocation(b []byte, before string) (string, error) {
	var key, value string
	err := fields(b, func(num protowire.Number, f field) (err error) {
		switch num {
		case 1:
			key, err = p.text(f.bytes)
		case 2:
			value, err = p.text(f.bytes)
		}
		return err
	})
	if key == "location" {
		return value, err
	}
	return before, err
}

// appendInts adds a repeated int64 field, packed or not.
func appendInts(to []int64, f field, limit int) ([]int64, error) {
	if f.bytes == nil {
		to = append(to, int64(f.varint))
	}
	for b := f.bytes; len(b) > 0 && len(to) <= limit; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		to, b = append(to, int64(v)), b[n:]
	}
	if len(to) > limit {
		return nil, fmt.Errorf("a list of numbers is longer than %d", limit)
	}
	return to, nil
}

// parseValue reads a ValueInfoProto; shapes of anything but tensors stay empty.
func (p *parser) parseValue(b []byte) (Value, error) {
	var v Value
	err := fields(b, func(num protowire.Number, f field) (err error) {
		switch num {
		case 1:
			v.Name, err = p.text(f.bytes)
		case 2: // type
			err = fields(f.bytes, func(num protowire.Number, f field) error {
				if num != 1 { // tensor_type
					return nil
				}
				return fields(f.bytes, func(num protowire.Number, f field) (err error) {
					switch num {
					case 1:
						v.Elem = ElemType(f.varint)
					case 2:
						v.Dims, err = p.parseShape(f.bytes)
					}
					return err
				})
			})
		}
		return err
	})
	return v, err
}

// parseShape reads a TensorShapeProto.
func (p *parser) parseShape(b []byte) ([]Dim, error) {
	var dims []Dim
	err := fields(b, func(num protowire.Number, f field) error {
		if num != 1 {
			return nil
		}
		if len(dims) >= maxDims {
			return fmt.Errorf("a shape has more than %d dimensions", maxDims)
		}
		var d Dim
		err := fields(f.bytes, func(num protowire.Number, f field) (err error) {
			switch num {
			case 1:
				if n := int64(f.varint); n > 0 && n < math.MaxInt32 {
					d.N = int(n)
				}
			case 2:
				d.Name, err = p.text(f.bytes)
			}
			return err
		})
		dims = append(dims, d)
		return err
	})
	return dims, err
}

// attribute reads one of a node's attributes: i, the values of ints, t.
func (n *onnxNode) attribute(name string) (a onnxAttribute, ok bool) {
	for _, raw := range n.attrs {
		var key string
		a = onnxAttribute{}
		err := fields(raw, func(num protowire.Number, f field) (err error) {
			switch num {
			case 1:
				key = string(f.bytes)
			case 2:
				a.float = math.Float32frombits(uint32(f.varint))
			case 3:
				a.i = int64(f.varint)
			case 5:
				a.tensor, err = (&parser{graph: &onnxGraph{}, seen: map[string]bool{}}).parseTensor(f.bytes)
			case 8:
				a.ints, err = appendInts(a.ints, f, maxDims)
			}
			return err
		})
		if err == nil && key == name {
			return a, true
		}
	}
	return onnxAttribute{}, false
}

type onnxAttribute struct {
	i      int64
	float  float32
	ints   []int64
	tensor *onnxTensor
}
