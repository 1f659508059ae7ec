package teacher

import (
	"fmt"
	"path/filepath"
	"runtime"

	ort "github.com/yalue/onnxruntime_go"
)

// Options say how a teacher is run.
type Options struct {
	Provider  string // one of Providers, but not Auto
	Precision string // one of Precisions
	Batch     int    // rows per call; a short batch is padded, so that a row's features never depend on how many came with it
	Threads   int    // of the provider, 0: one per core
	GPU       GPU
}

// Session is a model that is ready to run.
type Session struct {
	Options
	Feature Feature
	// Tokens per image and numbers per token. Grid is patches per side; Prefix tokens (class, then registers) come first.
	Tokens, Dim, Grid, Prefix int

	model   *Model
	session *ort.DynamicAdvancedSession
	bound   *bound // with CUDA graphs
	table   [3][256]float32

	halfTable [3][256]uint16 // the same in float16
	fast      bool           // normalize gives the numbers of table
	ran       bool           // once; until then the provider may still load something
}

// Open loads the provider's library and compiles the model. Errors are one line and name the file or library.
func (m *Model) Open(f Feature, o Options) (*Session, error) {
	p, err := providerNamed(o.Provider)
	if err != nil {
		return nil, err
	}
	if err := p.supports(o.Precision, m.graph.hasHalf()); err != nil {
		return nil, err
	}
	if o.Threads <= 0 {
		o.Threads = runtime.NumCPU()
	}
	o.GPU.Graphs = o.GPU.Graphs && p.memory != nil
	if err := load(p.library); err != nil {
		return nil, err
	}
	s := &Session{Options: o, Feature: f, model: m, table: m.normalization()}
	s.halfTable, s.fast = halves(&s.table), normalizes(&m.Preprocessing, &s.table)
	if err := keepSignals(func() error { return s.compile(p) }); err != nil {
		return nil, fmt.Errorf("%s on provider %s: %w", m.Path, p.name, err)
	}
	if err := s.findLayout(); err != nil {
		s.Close()
		return nil, err
	}
	if o.GPU.Graphs {
		mem, err := p.memory(o.GPU)
		if err == nil {
			err = s.bind(mem)
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s on provider %s, with CUDA graphs: %w", m.Path, p.name, err)
		}
	}
	return s, nil
}

// compile makes the session from the bytes that were digested, so that what runs is what the producer id names.
func (s *Session) compile(p provider) error {
	options, err := ort.NewSessionOptions()
	if err != nil {
		return err
	}
	defer options.Destroy()
	if err := options.SetIntraOpNumThreads(s.Threads); err != nil {
		return err
	}
	if err := options.SetLogSeverityLevel(ort.LoggingLevelFatal); err != nil {
		return err
	}
	if s.model.graph.hasHalf() {
		// onnxruntime 1.24 and 1.32 crash on some float16 graphs in the optimizations beyond these (open_clip's, with its casts).
		if err := options.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableExtended); err != nil {
			return err
		}
	}
	if len(s.model.Files) > 1 {
		folder, err := filepath.Abs(filepath.Dir(s.model.Path))
		if err != nil {
			return err
		}
		if err := options.AddSessionConfigEntry("session.model_external_initializers_file_folder_path", folder); err != nil {
			return err
		}
	}
	if p.add != nil {
		if err := p.add(options, s.model, s.Options); err != nil {
			return err
		}
	}
	s.session, err = ort.NewDynamicAdvancedSessionWithONNXData(s.Feature.model(s.model), []string{s.model.Input.Name}, []string{s.Feature.Output.Name}, options)
	return err
}

// Close frees the compiled model.
func (s *Session) Close() {
	if s.bound != nil {
		s.bound.close()
		s.bound = nil
	}
	if s.session != nil {
		s.session.Destroy()
		s.session = nil
	}
}

// findLayout finds what the output's tokens are: from the graph where it says so, else by running it once.
func (s *Session) findLayout() error {
	dims := s.Feature.Output.Dims
	s.Tokens, s.Dim = dims[1].N, dims[2].N
	if s.Tokens == 0 || s.Dim == 0 {
		if err := s.measureOutput(); err != nil {
			return err
		}
	}
	var err error
	s.Grid, s.Prefix, err = s.model.layout(s.Tokens)
	return err
}

// measureOutput runs black images to learn a shape that the graph leaves open. It is a whole batch, so that a provider that compiles
// for a shape does so once.
func (s *Session) measureOutput() error {
	if s.GPU.Graphs { // this run would be recorded, and its addresses are not those of later ones
		plain := s.Options
		plain.GPU.Graphs = false
		t, err := s.model.Open(s.Feature, plain)
		if err == nil {
			s.Tokens, s.Dim = t.Tokens, t.Dim
			t.Close()
		}
		return err
	}
	in, pixels, err := s.model.newInput(max(s.Batch, 1))
	if err != nil {
		return err
	}
	defer pixels.free()
	defer in.Destroy()
	outputs := []ort.Value{nil}
	if err := keepSignals(func() error { return s.session.Run([]ort.Value{in}, outputs) }); err != nil {
		return fmt.Errorf("run %s: %w", s.model.Path, err)
	}
	defer outputs[0].Destroy()
	shape := outputs[0].GetShape()
	if len(shape) != 3 {
		return fmt.Errorf("output %v of %s came out as %v, not [N, tokens, dim]", s.Feature.Output, s.model.Path, shape)
	}
	s.Tokens, s.Dim = int(shape[1]), int(shape[2])
	return nil
}

// layout splits an output's tokens into a square grid of patches and the class and register tokens before them.
func (m *Model) layout(tokens int) (grid, prefix int, err error) {
	if m.Patch > 0 {
		grid = m.Size / m.Patch
	} else {
		for (grid+1)*(grid+1) <= tokens {
			grid++
		}
	}
	const maxPrefix = 64 // registers; no tower has more than a handful
	prefix = tokens - grid*grid
	if grid == 0 || prefix < 0 || prefix > maxPrefix {
		return 0, 0, fmt.Errorf("%s gives %d tokens per image, which is no square grid of patches (its patch embedding makes %dx%d of them)", m.Path, tokens, grid, grid)
	}
	return grid, prefix, nil
}

// Patches per image.
func (s *Session) Patches() int { return s.Grid * s.Grid }

// HasCLS says whether the first token is the class token.
func (s *Session) HasCLS() bool { return s.Prefix > 0 }

// Registers counts the tokens between the class token and the patches; they are dropped.
func (s *Session) Registers() int { return max(s.Prefix-1, 0) }

// Runtime names the library that runs the model, for the shards' records.
func (s *Session) Runtime() string { return "onnxruntime " + ort.GetVersion() }

// Size is the side of the input image in pixels.
func (s *Session) Size() int { return s.model.Size }

// Run computes the features of a batch. One call at a time: the provider has all cores already. With CUDA graphs all calls should come
// from one OS thread, since a recording is its thread's.
func (s *Session) Run(b *Batch) error {
	run := func() error {
		if s.bound != nil {
			return s.runBound(b)
		}
		return s.session.Run(b.inputs[:], b.outputs[:])
	}
	var err error
	if s.ran {
		err = run()
	} else {
		err = keepSignals(run)
		s.ran = true
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", s.model.Path, err)
	}
	return nil
}
