package student

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"mvptargets/internal/atomicfile"
)

// TensorFile is the content of a safetensors file (github.com/huggingface/safetensors, format of the README): named tensors,
// little-endian, row-major, in the order in which they stand in the file, and string metadata.
type TensorFile struct {
	Tensors  []HostTensor
	Metadata map[string]string
}

// HostTensor is one named tensor in host memory, or one on a device that is read as it is written to a file.
type HostTensor struct {
	Name  string
	DType string // "F32", "F64", "BF16", "F16", "I32", "I64", "U8"
	Shape []int
	Data  []byte
	copy  func(io.Writer) error // in place of Data
}

// tensorSizes are the element sizes of the types that we read and write.
var tensorSizes = map[string]int{"F32": 4, "F64": 8, "BF16": 2, "F16": 2, "I32": 4, "I64": 8, "U8": 1}

// maxTensorHeader is the format's own limit on the header, in bytes.
const maxTensorHeader = 100_000_000

// tensorEntry is one tensor's entry in the header.
type tensorEntry struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// Find returns the tensor of that name.
func (f *TensorFile) Find(name string) (HostTensor, bool) {
	i := slices.IndexFunc(f.Tensors, func(t HostTensor) bool { return t.Name == name })
	if i < 0 {
		return HostTensor{}, false
	}
	return f.Tensors[i], true
}

// WriteTensors writes f to path, which appears whole or not at all. Equal content gives equal bytes.
func WriteTensors(path string, f *TensorFile) error {
	_, err := writeTensorFile(path, f)
	return err
}

// writeTensorFile is WriteTensors; it returns the file's SHA-256 in hexadecimal.
func writeTensorFile(path string, f *TensorFile) (string, error) {
	header, err := f.header()
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	out, err := atomicfile.Create(path)
	if err != nil {
		return "", err
	}
	defer out.Abort()
	digest := sha256.New()
	w := io.MultiWriter(out, digest)
	if _, err := w.Write(header); err != nil {
		return "", err
	}
	for _, t := range f.Tensors {
		if t.copy != nil {
			err = t.copy(w)
		} else {
			_, err = w.Write(t.Data)
		}
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(digest.Sum(nil)), out.Commit()
}

// header is the length word and the JSON, padded with blanks so that the data start at a multiple of 8.
func (f *TensorFile) header() ([]byte, error) {
	entries := map[string]any{}
	if len(f.Metadata) > 0 {
		entries["__metadata__"] = f.Metadata
	}
	var at int64
	for _, t := range f.Tensors {
		n, err := tensorBytes(t.DType, t.Shape)
		if err != nil || t.copy == nil && n != int64(len(t.Data)) || entries[t.Name] != nil {
			return nil, fmt.Errorf("tensor %q, %s%v, does not fit its %d bytes or stands there twice", t.Name, t.DType, t.Shape, len(t.Data))
		}
		end := at + n
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		entries[t.Name] = tensorEntry{t.DType, shape, [2]int64{at, end}}
		at = end
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	text = append(text, bytes.Repeat([]byte(" "), (8-len(text)%8)%8)...)
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}

// tensorBytes is the size of a tensor, with every product checked.
func tensorBytes(dtype string, shape []int) (int64, error) {
	n, ok := int64(tensorSizes[dtype]), true
	if n == 0 {
		return 0, fmt.Errorf("type %q is not supported", dtype)
	}
	for _, d := range shape {
		if d < 0 || d > 0 && n > (1<<62)/int64(d) {
			ok = false
			break
		}
		n *= int64(d)
	}
	if !ok {
		return 0, fmt.Errorf("shape %v is impossible", shape)
	}
	return n, nil
}

// ReadTensors reads a safetensors file. Nothing is allocated before the file is known to hold that much, and the tensors must
// fill the data without gap or overlap, as the format demands.
func ReadTensors(path string) (*TensorFile, error) {
	f, _, err := scanTensorFile(path, func(t *HostTensor, data *io.LimitedReader) error {
		t.Data = make([]byte, data.N)
		_, err := io.ReadFull(data, t.Data)
		return err
	})
	return f, err
}

// scanTensorFile reads a safetensors file from end to end and hands each tensor with its data to each, which may read less of them than
// there are, or, being nil, none. It returns the tensors and the file's SHA-256 in hexadecimal.
func scanTensorFile(path string, each func(t *HostTensor, data *io.LimitedReader) error) (*TensorFile, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("reading tensors: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("reading tensors: %w", err)
	}
	digest := sha256.New()
	t, err := scanTensors(io.TeeReader(f, digest), info.Size(), each)
	if err != nil {
		return nil, "", fmt.Errorf("%s is no sound safetensors file: %w", path, err)
	}
	return t, hex.EncodeToString(digest.Sum(nil)), nil
}

func scanTensors(r io.Reader, size int64, each func(t *HostTensor, data *io.LimitedReader) error) (*TensorFile, error) {
	var word [8]byte
	if _, err := io.ReadFull(r, word[:]); err != nil {
		return nil, fmt.Errorf("header length: %w", err)
	}
	n := binary.LittleEndian.Uint64(word[:])
	if n > maxTensorHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("a header of %d bytes in a file of %d", n, size)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	f, order, err := parseTensorHeader(text, size-8-int64(n))
	if err != nil {
		return nil, err
	}
	for i := range f.Tensors {
		t, data := &f.Tensors[i], &io.LimitedReader{R: r, N: order[i].Offsets[1] - order[i].Offsets[0]}
		if each != nil {
			err = each(t, data)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, data)
		}
		if err == nil && data.N > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return f, nil
}

// parseTensorHeader reads the JSON for a file with size bytes of data; the tensors come in the order of their data.
func parseTensorHeader(text []byte, size int64) (*TensorFile, []tensorEntry, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	f, entries := &TensorFile{}, map[string]tensorEntry{}
	for name, text := range raw {
		if name == "__metadata__" {
			if err := json.Unmarshal(text, &f.Metadata); err != nil {
				return nil, nil, fmt.Errorf("metadata: %w", err)
			}
			continue
		}
		var e tensorEntry
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		n, err := tensorBytes(e.DType, e.Shape)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1] > size || e.Offsets[1]-e.Offsets[0] != n {
			return nil, nil, fmt.Errorf("tensor %q: %s%v at %v in %d bytes of data", name, e.DType, e.Shape, e.Offsets, size)
		}
		entries[name] = e
		f.Tensors = append(f.Tensors, HostTensor{Name: name, DType: e.DType, Shape: e.Shape})
	}
	slices.SortFunc(f.Tensors, func(a, b HostTensor) int {
		x, y := entries[a.Name].Offsets, entries[b.Name].Offsets
		if c := slices.Compare(x[:], y[:]); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	var at int64
	order := make([]tensorEntry, len(f.Tensors))
	for i, t := range f.Tensors {
		order[i] = entries[t.Name]
		if order[i].Offsets[0] != at {
			return nil, nil, fmt.Errorf("a gap or an overlap in the data before tensor %q", t.Name)
		}
		at = order[i].Offsets[1]
	}
	if at != size {
		return nil, nil, fmt.Errorf("%d bytes of data, %d of them described", size, at)
	}
	return f, order, nil
}
