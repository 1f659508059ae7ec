// Package cuda is the blas.Device for NVIDIA GPUs of compute capability 8.0 and newer: matrix products by cuBLASLt, everything else by
// the kernels of package kernels, which NVRTC compiles at first use. libcuda, libcublasLt and libnvrtc are opened at run time.
//
// One locked thread owns the context and issues all work on one stream, in order; uploads travel through pinned buffers on a second
// stream, beside the work. Nothing waits for the GPU but Download and Sync. A Program is captured as a CUDA graph at its second run.
//
// No GPU was at hand when this was written. What stands behind it: every kernel is compiled by the real NVRTC, declarations and
// symbols are checked against NVIDIA's headers and libraries, and the whole device runs on the emulated one of package emulator.
//
// MVP_CUDA, MVP_CUBLASLT and MVP_NVRTC name a library's file or folder; MVP_CUDA_CACHE the folder for compiled kernels.
// MVP_CUDA_DEVICE chooses a GPU by number. MVP_CUDA_SYNC=1 waits after each operation, so that an error names the one that caused it;
// MVP_CUDA_GRAPH=off runs without graphs; MVP_CUDA_SEARCH=1 times cuBLASLt's candidates for each product; MVP_CUDA_TF32=1 lets
// float32 products round their inputs to 11 bits.
package cuda
