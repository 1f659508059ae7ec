package blas

// Device runs the operations of a training step. All methods but Close belong to one goroutine at a time; a device runs
// operations in the order in which they were issued.
type Device interface {
	// Info tells what the device is.
	Info() Info

	// Alloc returns zeroed memory; name shows in leak and memory reports. Running out of memory panics on ref and is the
	// error of the next Sync elsewhere (the tensor is then unusable).
	Alloc(name string, t DType, shape ...int) Tensor
	// Free returns memory that Alloc gave. Views of it must not be used afterwards.
	Free(Tensor)
	// Live lists what is allocated and not freed, for leak tests and the memory table.
	Live() []Allocation
	// Upload copies host bytes (see Bytes) into dst, in order with the operations; src may be reused at once.
	Upload(dst Tensor, src []byte)
	// Download waits for the operations so far and copies src to the host. It returns what Sync would.
	Download(dst []byte, src Tensor) error
	// Fetch begins a Download and returns at once; wait, to be called once, ends it: dst then holds src as the operations before Fetch
	// left it, and the error is the first of them since the last Sync. For figures: at most FetchBytes.
	Fetch(dst []byte, src Tensor) (wait func() error)
	// Sync waits for all operations and returns the first error since the last Sync.
	Sync() error
	// Record prepares operations that will be issued many times: issue must issue the same ones at each call. A device
	// with graphs captures them at the first Run after a warm-up; the others call issue at each Run.
	Record(name string, issue func()) Program
	// Close frees everything.
	Close() error

	Zero(Tensor)
	Cast(Cast)
	Gemm(Gemm)

	Patches(Patches)
	Tokens(Tokens)
	TokensBackward(TokensBackward)
	GatherRows(GatherRows)
	ScatterRows(ScatterRows)

	LayerNorm(LayerNorm)
	LayerNormBackward(LayerNormBackward)
	LayerScale(LayerScale)
	LayerScaleBackward(LayerScaleBackward)
	RelPosBias(RelPosBias)
	RelPosBiasBackward(RelPosBiasBackward)
	Attention(Attention)
	AttentionBackward(AttentionBackward)

	CosineLoss(CosineLoss)
	CosineLossBackward(CosineLossBackward)
	SmoothL1Loss(SmoothL1Loss)
	SmoothL1LossBackward(SmoothL1LossBackward)

	SumSquares(SumSquares)
	PrepareStep(PrepareStep)
	AdamW(AdamW)
	EMA(EMA)
}

// FetchBytes is the most that Fetch takes.
const FetchBytes = 4096

// Info describes a device for the log, the checkpoint and the report.
type Info struct {
	Name    string   // "ref", "cpu", "cuda"
	Detail  string   // one line: which kernels, libraries and versions were found, and why not the faster ones
	Threads int      // worker threads, 1 on ref
	Compute []DType  // compute types that the device offers, the preferred one first
	Skips   []DType  // compute types in which dropped samples are left out of all operations that take Keep
	Samples int      // in a micro-batch that suits the device where nobody has named another: more cost memory and gain no speed
	Paths   []string // code paths in use, such as "avx512bf16" or "onednn 3.2.0"
}

// Allocation is one live piece of device memory.
type Allocation struct {
	Name  string
	Bytes int
}

// Program is a recorded sequence of operations.
type Program interface{ Run() }

// Replay is the Program of devices without graphs: it issues the operations again.
type Replay func()

// Run issues the operations.
func (r Replay) Run() { r() }

// Cost is what an operation does, for the profile: floating-point operations and bytes that must move at least.
type Cost struct{ FLOPs, Bytes int64 }

// Op is what every argument struct satisfies.
type Op interface {
	Name() string
	Check()
	Cost() Cost
}

// bytesOf adds up the sizes of tensors; absent ones count nothing.
func bytesOf(ts ...Tensor) (n int64) {
	for _, t := range ts {
		if t.Ok() {
			n += int64(t.Bytes())
		}
	}
	return n
}
