package teacher

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	ort "github.com/yalue/onnxruntime_go"

	"mvptargets/blas/cuda/emulator"
)

// emulatedCard is the emulated GPU's memory, which lies in the host's, so that onnxruntime's own kernels can be bound to it.
type emulatedCard struct{ *card }

func (emulatedCard) place() (string, int) { return "Cpu", 0 }

// withCard adds a provider "bound" for a test: onnxruntime's own kernels, with input and output on the emulated GPU.
func withCard(t *testing.T) *emulator.Device {
	t.Helper()
	gpu, before := emulator.Use(t), providers
	providers = append(providers[:len(providers):len(providers)], provider{"bound", library(openvinoWheel, libraryRemedy), []string{"f32"}, false, nil,
		func(g GPU) (memory, error) {
			c, err := openCard(g.Device)
			return emulatedCard{c}, err
		}})
	t.Cleanup(func() { providers = before })
	return gpu
}

// What a graph's replay needs, input and output at one place on the card and copies around the run, gives the features of the plain
// way to the byte, in whatever batch they are wanted.
func TestBoundEqualsPlain(t *testing.T) {
	gpu := withCard(t)
	sizes["open_shapes.onnx"] = 32
	defer delete(sizes, "open_shapes.onnx")
	for _, c := range []struct{ model, feature string }{{"tower", Projected}, {"half", Hidden}, {"siglip", Normed}, {"open_shapes", Hidden}} {
		t.Run(c.model, func(t *testing.T) {
			room, all := gpu.Room(), images(t)
			o := Options{Provider: "cpu", Precision: "f32", Batch: 3, Threads: 2}
			plain := open(t, c.model+".onnx", c.feature, o)
			o.Provider, o.GPU.Graphs = "bound", true
			s := open(t, c.model+".onnx", c.feature, o)
			if s.Tokens != plain.Tokens || s.Dim != plain.Dim {
				t.Fatalf("%d tokens of %d, want %d of %d", s.Tokens, s.Dim, plain.Tokens, plain.Dim)
			}
			batches := []*Batch{run(t, s, all[:3]), run(t, s, all[1:4]), run(t, s, all[:1])}
			again := batches[0]
			again.SetPixels(0, all[3])
			if err := s.Run(again); err != nil {
				t.Fatal(err)
			}
			for i, rows := range [][][]uint8{{all[3], all[1], all[2]}, all[1:4], all[:1]} {
				n := len(rows) * s.Tokens * s.Dim * 4
				if want := run(t, plain, rows); !bytes.Equal(batches[i].features[:n], want.features[:n]) {
					t.Errorf("batch %d has other features than without binding", i)
				}
				batches[i].Free()
			}
			s.Close()
			if wrong := gpu.Finish(); wrong != "" {
				t.Error(wrong)
			}
			if left := gpu.Room(); left != room {
				t.Errorf("%d bytes of the card are not given back", room-left)
			}
		})
	}
}

func TestAFailingCardIsOneLine(t *testing.T) {
	gpu := withCard(t)
	m := read(t, filepath.Join("testdata", "tower.onnx"))
	f, err := m.Feature(Hidden)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Provider: "bound", Precision: "f32", Batch: 2, GPU: GPU{Graphs: true}}
	use := func() error {
		s, err := m.Open(f, o)
		if err != nil {
			return err
		}
		defer s.Close()
		b, err := s.NewBatch()
		if err != nil {
			return err
		}
		defer b.Free()
		return s.Run(b)
	}
	for _, c := range []struct {
		call string
		nth  int
		want string
	}{
		{"cuDevicePrimaryCtxRetain", 1, "testdata/tower.onnx on provider bound, with CUDA graphs: open on GPU 0: "},
		{"cuMemAlloc_v2", 2, "with CUDA graphs: allocate 2176 bytes on GPU 0: "},
		{"cuMemHostAlloc", 1, "batch of 2 images for testdata/tower.onnx: pin 24576 bytes of the host for copies on GPU 0: "},
		{"cuMemcpyHtoDAsync_v2", 1, "run testdata/tower.onnx: copy pixels on GPU 0: "},
		{"cuStreamSynchronize", 2, "run testdata/tower.onnx: copy features on GPU 0: "},
	} {
		gpu.Reset()
		room := gpu.Room()
		gpu.Fail(c.call, c.nth, 2)
		if err := use(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s fails: %v", c.call, err)
		}
		if left := gpu.Room(); left != room {
			t.Errorf("%s fails: %d bytes of the card are not given back", c.call, room-left)
		}
	}
	o.GPU.Device = 7
	if err := use(); err == nil || !strings.Contains(err.Error(), "open on GPU 7: ") {
		t.Errorf("a card that is not there gives %v", err)
	}
}

// onnxruntime_go is compiled with onnxruntime's header, which says whether ort.h is right.
func TestDeclarations(t *testing.T) {
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I"+strings.TrimSpace(string(folder)), "testdata/declarations.c")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("ort.h and onnxruntime's header differ: %v\n%s", err, text)
	}
	internals := reflect.TypeFor[ort.ValueInternalData]()
	if internals.NumField() != 1 || internals.Field(0).Name != "ortValue" || internals.Field(0).Type.Kind() != reflect.Pointer {
		t.Errorf("onnxruntime_go's %v is no longer one pointer to an OrtValue", internals)
	}
}
