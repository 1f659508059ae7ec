package teacher

import (
	"fmt"
	"strings"
)

// ElemType is an ONNX element type (TensorProto.DataType).
type ElemType int32

const (
	Float32 ElemType = 1
	Int64   ElemType = 7
	Float16 ElemType = 10
)

var elemNames = map[ElemType]string{
	0: "untyped", 1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
	10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
}

func (e ElemType) String() string {
	if s, ok := elemNames[e]; ok {
		return s
	}
	return fmt.Sprintf("type %d", int32(e))
}

// Dim is one dimension of a shape: N where the graph fixes it (else 0), and its name where the graph gives one.
type Dim struct {
	N    int
	Name string
}

// Value is an input or output of a graph.
type Value struct {
	Name string
	Elem ElemType
	Dims []Dim
}

// String writes a value as "pixel_values float32[batch,3,224,224]".
func (v Value) String() string {
	dims := make([]string, len(v.Dims))
	for i, d := range v.Dims {
		switch {
		case d.N > 0:
			dims[i] = fmt.Sprint(d.N)
		case d.Name != "":
			dims[i] = d.Name
		default:
			dims[i] = "?"
		}
	}
	return fmt.Sprintf("%s %v[%s]", v.Name, v.Elem, strings.Join(dims, ","))
}

// list writes values with commas, "none" for no value.
func list(values []Value) string {
	if len(values) == 0 {
		return "none"
	}
	s := make([]string, len(values))
	for i, v := range values {
		s[i] = v.String()
	}
	return strings.Join(s, ", ")
}
