package teacher

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// Model is an ONNX file that was found to be a vision tower.
type Model struct {
	Path    string
	Set     Settings // what the user gave
	Files   []File   // the model file, then its external-data files by name
	Input   Value    // float32 or float16 [N, 3, Size, Size]
	Outputs []Value
	LeftOut []string // inputs that were left out with all that needs them
	Size    int      // side of the input image in pixels
	Patch   int      // side of a patch in pixels, 0 where no patch embedding was found in the graph
	Preprocessing

	graph  *onnxGraph
	bytes  []byte // of the file, at the start of memory
	memory region // with room for an edit behind the file
}

// File is a file that a model is made of, with the SHA-256 of its bytes in hex. The model file itself is named "model", so
// that renaming it changes nothing; an external-data file has the name by which the model refers to it.
type File struct{ Name, SHA256 string }

const (
	maxModelBytes = math.MaxInt32 // protobuf's own limit
	roomForEdit   = 1 << 20       // an edit is a few nodes
)

// Read reads an ONNX file and finds out what it is. Preprocessing that set leaves open comes from a file beside the model, else it
// is CLIP's. Errors are one line and name the file.
func Read(path string, set Settings) (*Model, error) {
	m := &Model{Path: path, Set: set}
	if err := m.read(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Close gives the file's bytes back. Sessions opened from the model live on.
func (m *Model) Close() { m.memory.free() }

func (m *Model) read() error {
	digest, err := m.load()
	if err != nil {
		return fmt.Errorf("read teacher: %w", err)
	}
	m.Files = []File{{"model", digest}}
	if m.graph, err = parseONNX(m.bytes); err != nil {
		return fmt.Errorf("%s is no ONNX model: %w; --model takes a CLIP vision tower exported to ONNX", m.Path, err)
	}
	m.Outputs = m.graph.outputs
	if err := m.cut(); err != nil {
		return fmt.Errorf("read teacher %s: %w", m.Path, err)
	}
	if err := m.checkInput(); err != nil {
		return err
	}
	if m.Preprocessing, err = readPreprocessing(filepath.Dir(m.Path), m.Set); err != nil {
		return err
	}
	if err := m.findSize(); err != nil {
		return err
	}
	return m.digestExternal()
}

// load brings the file into memory and digests it.
func (m *Model) load() (string, error) {
	f, err := os.Open(m.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s does not exist; --model takes a CLIP vision tower exported to ONNX", m.Path)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file; --model takes the .onnx file", m.Path)
	}
	if info.Size() > maxModelBytes {
		return "", fmt.Errorf("%s has %d bytes, more than ONNX allows in one file; export the weights as external data", m.Path, info.Size())
	}
	if m.memory, err = newRegion(int(info.Size()) + roomForEdit); err != nil {
		return "", err
	}
	m.bytes = m.memory[:info.Size()]
	if _, err := io.ReadFull(f, m.bytes); err != nil {
		return "", fmt.Errorf("%s: %w", m.Path, err)
	}
	sum := sha256.Sum256(m.bytes)
	return hex.EncodeToString(sum[:]), nil
}

// digestExternal adds the files that hold weights outside the model file. They must lie in its folder or below.
func (m *Model) digestExternal() error {
	names := slices.Clone(m.graph.external)
	slices.Sort(names)
	for _, name := range names {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%s refers to weights in %q, outside its own folder; export it again with the weights beside it", m.Path, name)
		}
		digest, err := digestFile(filepath.Join(filepath.Dir(m.Path), name))
		if err != nil {
			return fmt.Errorf("weights of %s: %w", m.Path, err)
		}
		m.Files = append(m.Files, File{name, digest})
	}
	return nil
}

func digestFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// inputs are those that the model must be given: old exporters list the weights too.
func (m *Model) inputs() (inputs []Value) {
	for _, v := range m.graph.inputs {
		if m.graph.tensors[v.Name] == nil {
			inputs = append(inputs, v)
		}
	}
	return inputs
}

// checkInput asks for exactly one input, an image batch [N, 3, H, W].
func (m *Model) checkInput() error {
	inputs := m.inputs()
	v := Value{}
	if len(inputs) > 0 {
		v = inputs[0]
		m.Input = v
	}
	if len(inputs) != 1 || len(v.Dims) != 4 || (v.Dims[1].N != 3 && v.Dims[1].N != 0) {
		return fmt.Errorf("%s is no vision tower: it takes %s, not one image batch float32[N,3,H,W]; export the vision half alone", m.Path, list(inputs))
	}
	if v.Elem != Float32 && v.Elem != Float16 {
		return fmt.Errorf("%s takes %v; only float32 and float16 pixels are supported: export it in float32", m.Path, v)
	}
	return nil
}

// findSize finds the input's side and the patch's: the side from the graph if it is fixed there, else from what the user gave or the
// preprocessor's settings; the patch from the convolution that reads the image.
func (m *Model) findSize() error {
	h, w := m.Input.Dims[2].N, m.Input.Dims[3].N
	switch {
	case h == 0 && w == 0:
		if h = m.Set.Size; h == 0 {
			h = m.Crop
		}
		if w = h; h == 0 {
			return fmt.Errorf("%s does not fix its input's size (%v) and no preprocessor_config.json beside it does; copy the one of the model there, or give --size", m.Path, m.Input)
		}
	case m.Set.Size != 0 && m.Set.Size != h:
		return fmt.Errorf("%s takes images of %dx%d pixels and no others: leave --size %d away, or export it for that size", m.Path, w, h, m.Set.Size)
	}
	if h != w {
		return fmt.Errorf("%s takes images of %dx%d pixels; only square inputs are supported", m.Path, w, h)
	}
	const largest = 4096 // a side above this is a damaged file, not a teacher
	if h > largest {
		return fmt.Errorf("%s takes images of %dx%d pixels, more than %d a side", m.Path, w, h, largest)
	}
	if m.Short != 0 && m.Short < h {
		return fmt.Errorf("%s takes images of %dx%d pixels, which cannot be cut from one whose short side has %d (--resize, or size in %s)", m.Path, w, h, m.Short, preprocessorFile)
	}
	m.Size = h
	m.Patch = m.findPatch()
	return nil
}

// findPatch gives the stride of the patch embedding: the convolution of the image by a kernel of equal stride. Exporters
// may put casts before it. It is 0 where there is none.
func (m *Model) findPatch() int {
	image := map[string]bool{m.Input.Name: true}
	for _, n := range m.graph.nodes {
		if len(n.inputs) == 0 || !image[n.inputs[0]] {
			continue
		}
		switch n.op {
		case "Cast", "Identity":
			for _, out := range n.outputs {
				image[out] = true
			}
		case "Conv":
			shape, _ := n.attribute("kernel_shape")
			strides, _ := n.attribute("strides")
			kernel, stride := shape.ints, strides.ints
			if len(kernel) == 0 && len(n.inputs) > 1 {
				if t := m.graph.tensors[n.inputs[1]]; t != nil && len(t.dims) == 4 {
					kernel = t.dims[2:]
				}
			}
			if len(kernel) == 2 && slices.Equal(kernel, stride) && kernel[0] == kernel[1] && kernel[0] > 0 && kernel[0] <= int64(m.Size) {
				return int(kernel[0])
			}
		}
	}
	return 0
}
