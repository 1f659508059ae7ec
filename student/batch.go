package student

// Batch is one micro-batch of N samples on the host, as the loader fills it and Model.Upload takes it. S is the image size, P the
// number of patches, L the number of patches per sample that the loss sees, K the teacher's width.
type Batch struct {
	N       int
	Pixels  []uint8   // [N, S, S, 3], RGB
	Mask    []uint8   // [N, P], 1 where the patch is replaced by the mask token
	MaskIdx []int32   // [N*L], rows n·P + patch that the loss sees, ascending within a sample
	Targets []uint16  // [N*L, K], float16 bits: the teacher's features at MaskIdx
	Keep    []float32 // [2*Depth, N], drop path factors, 0 or 1/(1-rate); attention then MLP of each block; nil without drop path
}
