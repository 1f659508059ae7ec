// Package blas is the compute core under the student: one interface, Device, that says what a training step needs, and
// the vocabulary its operations share. Three packages implement it: ref in plain Go (the definition), cpu with oneDNN and
// C kernels, and blastest holds the conformance suite that every device runs.
//
// # Tensors
//
// A Tensor is a dense row-major array of up to four dimensions in a device's memory. Slicing along the first dimension and
// reshaping give views; nothing is ever strided. Three roles of number types run through every operation:
//
//   - master: parameters, gradients, optimizer state, statistics, the residual stream and its gradient. F32 (F64 on ref for
//     gradient checks).
//   - compute: what enters and leaves matrix products. F32, BF16 (or F64).
//   - integers: U8 for pixels and masks, I32 for indices; F16 only for stored targets.
//
// Matrix products, norms, softmax, losses and reductions accumulate in master precision whatever the compute type is.
//
// # A step on a device
//
// The interface is shaped so that a whole training step can be captured once and replayed, as a CUDA graph is:
// operations return nothing and may run later; shapes and constants in an operation's struct are fixed for a run; all that
// changes from step to step (learning rate, step count, clip coefficient, drop path factors, mask indices) is read from
// tensors that Upload fills; a step with a non-finite gradient skips its update on the device. Sync waits and returns the
// first error since the last Sync, naming the operation.
//
// # Dropped samples
//
// Drop path (Huang et al., arXiv 1603.09382) multiplies what a branch computes for a sample by its factor, 0 or 1/(1-rate): work for a
// sample with factor 0, a dropped one, is worth nothing. Operations inside a branch take its factors as Keep, all of them the same, and a
// device may leave dropped samples out. What they would compute for one, its rows of activations and gradients, is then undefined; what
// mixes rows counts nothing of it: AddResidual gives the residual, weight gradients, column sums, bias gradients and the residual stream's
// gradient go without it.
//
// A device need not leave anything out: the gradient that enters a branch is 0 for a dropped sample (the Low of LayerNormBackward and
// Cast's Scale make it so), and all that follows from it. But what one of its operations leaves undefined, no other of them may read.
// Info.Skips says where the numbers of a dropped sample are never read: elsewhere infinity and NaN among them, times 0, spread.
//
// # Arguments
//
// Each operation takes a struct whose fields are documented with shape and role; forward and backward stand next to each
// other. Check panics on a wrong shape or type with a fixed message: that is a bug of the caller's, never bad input.
// Gradients of parameters accumulate (+=), so that micro-batches add up; gradients of activations are overwritten unless
// a field says otherwise.
package blas
