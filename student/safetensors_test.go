package student

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestTensorsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	want := &TensorFile{Metadata: map[string]string{"format": "pt"}, Tensors: []HostTensor{
		{Name: "b.weight", DType: "F32", Shape: []int{2, 3}, Data: bytes.Repeat([]byte{1, 2, 3, 4}, 6)},
		{Name: "a \"quoted\"", DType: "U8", Shape: []int{3}, Data: []byte{7, 8, 9}},
		{Name: "empty", DType: "BF16", Shape: []int{0, 4}, Data: []byte{}},
		{Name: "step", DType: "I64", Shape: []int{}, Data: []byte{1, 0, 0, 0, 0, 0, 0, 0}},
	}}
	if err := WriteTensors(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTensors(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
	if x, ok := got.Find("step"); !ok || x.Data[0] != 1 {
		t.Error("step is not found")
	}
	if _, ok := got.Find("absent"); ok {
		t.Error("a tensor that is not there is found")
	}
}

// golden.safetensors was written by Python's safetensors package.
func TestReadsPythonsFile(t *testing.T) {
	f, err := ReadTensors("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if x, ok := f.Find("pixels"); !ok || x.DType != "U8" || len(x.Data) != 2*16*16*3 {
		t.Errorf("pixels are %s%v", x.DType, x.Shape)
	}
}

func tensorText(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestUnsoundTensorFiles(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":          {},
		"huge header":    binary.LittleEndian.AppendUint64(nil, 1<<63),
		"long header":    binary.LittleEndian.AppendUint64(nil, 90_000_000),
		"no JSON":        tensorText("{", 0),
		"type":           tensorText(`{"a":{"dtype":"F1","shape":[1],"data_offsets":[0,1]}}`, 1),
		"overflow":       tensorText(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0),
		"negative":       tensorText(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1),
		"beyond the end": tensorText(`{"a":{"dtype":"U8","shape":[1000000000000],"data_offsets":[0,1000000000000]}}`, 1),
		"wrong length":   tensorText(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}`, 1),
		"gap":            tensorText(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2),
		"overlap":        tensorText(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3),
		"left over":      tensorText(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2),
		"cut":            tensorText(`{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}`, 8),
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if f, err := ReadTensors(path); err == nil {
			t.Errorf("%s: read %+v", name, f)
		}
	}
}

func TestWriteTensorsRefusesWrongSizes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := WriteTensors(path, &TensorFile{Tensors: []HostTensor{{Name: "a", DType: "F32", Shape: []int{2}, Data: make([]byte, 4)}}}); err == nil {
		t.Error("a tensor of two floats in 4 bytes was written")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the refused file is there")
	}
}

func FuzzTensorHeader(f *testing.F) {
	f.Add([]byte(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`), int64(1))
	f.Fuzz(func(t *testing.T, text []byte, size int64) {
		if size < 0 {
			return
		}
		if _, order, err := parseTensorHeader(text, size); err == nil {
			var sum int64
			for _, e := range order {
				sum += e.Offsets[1] - e.Offsets[0]
			}
			if sum != size {
				t.Errorf("%d bytes of tensors in %d bytes of data", sum, size)
			}
		}
	})
}
