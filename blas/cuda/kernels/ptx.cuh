// All PTX of this folder: conversions, matrix loads, the tensor cores' product and asynchronous copies. Compiled by NVRTC, the bodies are the
// instructions; on the emulated device (EMULATED) they are the C++ of emulator/warp.h, so the PTX itself is compiled in the
// tests and never executed there.
#ifndef PTX_CUH
#define PTX_CUH

struct bf16 { unsigned short bits; };  // bfloat16: the upper half of a float
struct f16 { unsigned short bits; };   // IEEE half, stored targets only

#ifndef EMULATED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

// Two floats rounded to nearest even, lo in the lower half of the register.
__device__ __forceinline__ unsigned pack_bf16(float lo, float hi) {
	unsigned r;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
	return r;
}

__device__ __forceinline__ bf16 round_bf16(float x) {
	bf16 r;
	asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
	return r;
}

__device__ __forceinline__ float widen(f16 x) {
	float r;
	asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits));
	return r;
}

__device__ __forceinline__ float bits_as_float(unsigned x) { return __uint_as_float(x); }

// An address in shared memory, on which arithmetic is cheap.
typedef unsigned Place;
__device__ __forceinline__ Place place_of(const bf16 *p) { return (Place)__cvta_generic_to_shared(p); }

// Four 8x8 matrices of 16-bit numbers from shared memory: lane 8i+r gives the address (16-byte aligned) of row r of matrix i; lane
// l receives in r[i] the two numbers at row l/4, columns 2(l%4) and the next; of the transposed matrix in the second form.
__device__ __forceinline__ void load_matrices(unsigned r[4], Place at) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(unsigned r[4], Place at) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// c += a·b on the tensor cores: a [16, 16] by rows, b [16, 8] by columns, bf16; c [16, 8] float32. Lane l holds c at rows l/4 and
// l/4+8, columns 2(l%4) and the next (PTX ISA, mma.m16n8k16).
__device__ __forceinline__ void multiply_add(float c[4], const unsigned a[4], unsigned b0, unsigned b1) {
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// 16 bytes from global to shared memory, both aligned so, or zeros where not inside; under way until the thread has waited for it. commit
// closes a group of copies, wait waits for all groups.
__device__ __forceinline__ void copy_async(void *to, const void *from, bool inside) {
	unsigned at = (unsigned)__cvta_generic_to_shared(to);
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(at), "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
__device__ __forceinline__ void wait_copies() { asm volatile("cp.async.wait_group 0;" : : : "memory"); }
#else
#include "warp.h"
#endif

#endif
