package teacher

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	ProbeChild()
	os.Exit(m.Run())
}

// sizes are of models that leave them open.
var sizes = map[string]int{"both.onnx": 32}

// open reads a model of testdata and compiles it, or skips the test where its library is not there.
func open(t *testing.T, name, feature string, o Options) *Session {
	t.Helper()
	p, err := providerNamed(o.Provider)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.library.Find(); err != nil {
		t.Skip(err)
	}
	if err := p.supports(o.Precision, false); err != nil {
		t.Skip(err)
	}
	m, err := Read(filepath.Join("testdata", name), Settings{Size: sizes[name]})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := m.Feature(feature)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Open(f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// images are those of testdata/pixels.u8.
func images(t *testing.T) [][]uint8 {
	t.Helper()
	data, err := os.ReadFile("testdata/pixels.u8")
	if err != nil {
		t.Fatal(err)
	}
	const size = 32 * 32 * 3
	var all [][]uint8
	for len(data) >= size {
		all, data = append(all, data[:size]), data[size:]
	}
	return all
}

// run computes rows of a batch from images, in order.
func run(t *testing.T, s *Session, rows [][]uint8) *Batch {
	t.Helper()
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	for i, rgb := range rows {
		b.SetPixels(i, rgb)
	}
	if err := s.Run(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

// cases are the ways to run a teacher that every test below goes through.
var cases = []struct {
	Options
	least float64 // cosine to PyTorch's float32 features, per token
}{
	{Options{Provider: "cpu", Precision: "f32", Batch: 4, Threads: 2}, 0.999999},
	{Options{Provider: "openvino", Precision: "f32", Batch: 4, Threads: 2}, 0.999999},
	{Options{Provider: "openvino", Precision: "bf16", Batch: 4, Threads: 2}, 0.999},
}

// golden reads features that PyTorch computed for testdata/pixels.u8.
func golden(t *testing.T, name string) []float32 {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".f32")
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, len(data)/4)
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, want); err != nil {
		t.Fatal(err)
	}
	return want
}

// towers are the models of testdata whose features PyTorch computed: the golden files' prefix, which features there are, and how
// many tokens come before the 16 patches. SigLIP and DINOv2 have no projection.
var towers = []struct {
	model, prefix string
	features      []string
	tokens        int
}{
	{"tower", "", all, 1},
	{"pooled", "", all, 1},
	{"external", "", all, 1},
	{"half", "", all, 1},
	{"openclip", "openclip_", all, 1},
	{"open_clip", "open_clip_", all, 1},
	{"open_clip_avg", "open_clip_avg_", all, 1},
	{"exported", "both_", all, 1},
	{"both", "both_", all, 1},
	{"siglip", "siglip_", all[:2], 0},
	{"timm_siglip", "timm_siglip_", all[:2], 0},
	{"dinov2", "dinov2_", all[:2], 1},
	{"registers", "registers_", all[:2], 5},
}

var all = []string{Hidden, Normed, Projected}

func TestFeaturesEqualPyTorch(t *testing.T) {
	for _, c := range cases {
		for _, tower := range towers {
			for i, feature := range tower.features {
				// OpenVINO takes half a second to compile a model: of each only the feature that needs most of it.
				if c.Provider == "openvino" && (i < len(tower.features)-1 || c.Precision == "bf16" && tower.prefix != "") {
					continue
				}
				t.Run(c.Provider+" "+c.Precision+" "+tower.model+" "+feature, func(t *testing.T) {
					tokens := tower.tokens + 16
					want := golden(t, tower.prefix+feature)
					dim := len(want) / 4 / tokens
					s := open(t, tower.model+".onnx", feature, c.Options)
					if s.Tokens != tokens || s.Dim != dim || s.Grid != 4 || s.HasCLS() != (tower.tokens > 0) || s.Registers() != max(tower.tokens-1, 0) {
						t.Fatalf("layout %+v", s)
					}
					b := run(t, s, images(t))
					least := c.least
					if s.model.graph.hasHalf() { // its weights have 11 bits
						least = min(least, 0.9999)
					}
					for i := range 4 {
						row := want[i*tokens*dim:][:tokens*dim]
						check := func(token int, got []float32) {
							if cos := cosine(got, row[token*dim:][:dim]); !(cos >= least) {
								t.Errorf("image %d, token %d: cosine %v to PyTorch's features", i, token, cos)
							}
						}
						if s.HasCLS() {
							check(0, b.CLS(i))
						}
						for p := range 16 {
							check(tower.tokens+p, b.Patches(i)[p*dim:][:dim])
						}
					}
				})
			}
			for _, feature := range all[len(tower.features):] {
				m := read(t, "testdata/"+tower.model+".onnx")
				if _, err := m.Feature(feature); err == nil || !strings.Contains(err.Error(), "it offers "+strings.Join(tower.features, ", ")) {
					t.Errorf("%s offers %s, or gives %v", tower.model, feature, err)
				}
			}
		}
	}
}

func TestARowDoesNotDependOnItsNeighbours(t *testing.T) {
	for _, c := range cases {
		t.Run(c.Provider+" "+c.Precision, func(t *testing.T) {
			o := c.Options
			o.Batch = 7
			s := open(t, "tower.onnx", Projected, o)
			all := images(t)
			alone := run(t, s, all[:1])
			want := bytes.Clone(alone.features[:alone.featureRow*4])
			for at := range o.Batch {
				rows := make([][]uint8, o.Batch)
				for i := range rows {
					rows[i] = all[1+i%3]
				}
				rows[at] = all[0]
				b := run(t, s, rows)
				if !bytes.Equal(b.features[at*b.featureRow*4:(at+1)*b.featureRow*4], want) {
					t.Errorf("at row %d the bytes are others than alone", at)
				}
			}
		})
	}
}

func TestOpenShapesAreMeasured(t *testing.T) {
	write := func(t *testing.T, config string) string {
		data, err := os.ReadFile("testdata/open_shapes.onnx")
		if err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		if err := os.WriteFile(folder+"/model.onnx", data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(folder+"/preprocessor_config.json", []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		return folder + "/model.onnx"
	}
	path, err := filepath.Abs(write(t, `{"crop_size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.5]}`))
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(filepath.Join(mustGetwd(t), "testdata"), path)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, relative, Hidden, cases[0].Options)
	if s.Tokens != 17 || s.Dim != 16 || s.Grid != 4 || s.Prefix != 1 {
		t.Errorf("layout %+v", s)
	}
	if s.model.Mean != [3]float32{0.5, 0.5, 0.5} || s.table[0][255] != 2 || s.table[2][255] != 1 {
		t.Errorf("preprocessing %+v", s.model.Preprocessing)
	}
}

func mustGetwd(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Where a tensor cannot be made there is none to destroy, and the batch that wanted it is given back.
func TestABatchThatCannotBeMade(t *testing.T) {
	load(library(openvinoWheel, libraryRemedy))
	for _, elem := range []ElemType{Float32, Float16} {
		m := &Model{Input: Value{Elem: elem}, Size: -1} // which onnxruntime refuses
		if _, err := (&Session{Options: Options{Batch: 1}, model: m, Tokens: 1, Dim: 1}).NewBatch(); err == nil {
			t.Errorf("a batch of images of an impossible size, of type %v, was made", elem)
		}
	}
}
