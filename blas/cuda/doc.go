// Package cuda is the blas.Device for NVIDIA GPUs of compute capability 8.0 and newer: matrix products by cuBLASLt, everything else by
// the kernels of package kernels, which NVRTC compiles at first use.
package cuda
