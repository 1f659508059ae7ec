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
// # Arguments
//
// Each operation takes a struct whose fields are documented with shape and role; forward and backward stand next to each
// other. Check panics on a wrong shape or type with a fixed message: that is a bug of the caller's, never bad input.
// Gradients of parameters accumulate (+=), so that micro-batches add up; gradients of activations are overwritten unless
// a field says otherwise.
package blas
