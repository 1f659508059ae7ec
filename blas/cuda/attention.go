package cuda

// #include "api.h"
import "C"

import (
	"fmt"

	"mvptargets/blas"
)

// Attention implements blas.Device. On tensor cores it and its backward leave dropped samples out.
func (d *Device) Attention(a blas.Attention) {
	a.Check()
	only(a.Name(), a.QKV)
	samples, n, width := a.LSE.Dim(0), a.LSE.Dim(2), a.Out.Cols()/a.Heads
	tile := tileWidth(a.QKV.DType(), width)
	if tile == 0 {
		d.kernel(a, typed("attention_plain", a.QKV), shape{grid: [3]int{ceil(n, 4), a.Heads, samples}, block: 128, shared: 4 * 4 * n},
			a.Out, a.LSE, a.QKV, a.Bias, n, a.Heads, width, float32(a.Scale()))
		return
	}
	d.kernel(a, fmt.Sprint("attention_", tile), shape{grid: [3]int{ceil(n, 64), a.Heads, samples}, block: 128, shared: 3 * tileBytes(tile)},
		a.Out, a.LSE, a.QKV, a.Bias, a.Keep, n, a.Heads, width, float32(a.Scale()))
}

// tileWidth is the width to which a head is padded in shared memory for the tensor cores; 0 where it is float32 or too wide for them.
func tileWidth(t blas.DType, width int) int {
	for _, w := range []int{16, 32, 64, 128} {
		if width <= w && t == blas.BF16 {
			return w
		}
	}
	return 0
}

// tileBytes is a tile of 64 rows with its padding (tile.cuh).
func tileBytes(tile int) int { return 64 * (tile + 8) * 2 }

// AttentionBackward implements blas.Device.
func (d *Device) AttentionBackward(a blas.AttentionBackward) {
	a.Check()
	only(a.Name(), a.QKV)
	d.op(a.Name(), func() error {
		tile := tileWidth(a.QKV.DType(), a.Out.Cols()/a.Heads)
		if tile == 0 {
			return d.attentionBackwardPlain(a)
		}
		if shared, ok, err := d.wholeHead(a); ok || err != nil {
			if err != nil {
				return err
			}
			return d.attentionBackwardWhole(a, shared)
		}
		return d.attentionBackward(a, tile)
	})
}

func (d *Device) attentionBackwardPlain(a blas.AttentionBackward) error {
	samples, n, width := a.LSE.Dim(0), a.LSE.Dim(2), a.Out.Cols()/a.Heads
	s := shape{grid: [3]int{ceil(n, 4), a.Heads}, block: 128, shared: 2 * 4 * 4 * n}
	if err := d.launch(typed("attention_plain_backward_q", a.QKV), s, a.DQKV, a.DBias, a.DOut, a.Out, a.LSE, a.QKV, a.Bias, samples, n, a.Heads, width, float32(a.Scale())); err != nil {
		return err
	}
	s.grid[2] = samples
	return d.launch(typed("attention_plain_backward_kv", a.QKV), s, a.DQKV, a.DOut, a.Out, a.LSE, a.QKV, a.Bias, n, a.Heads, width, float32(a.Scale()))
}

// attentionBackward computes dq with delta and the bias's gradient, then dk and dv. The samples are dealt to as many groups as fill the
// GPU; each group sums its own part of the bias's gradient.
func (d *Device) attentionBackward(a blas.AttentionBackward, tile int) error {
	samples, n, width := a.LSE.Dim(0), a.LSE.Dim(2), a.Out.Cols()/a.Heads
	tiles, scale := ceil(n, 64), float32(a.Scale())
	delta, err := d.scratch("attention's delta", 4*a.LSE.Len())
	if err != nil {
		return err
	}
	s := shape{grid: [3]int{tiles, a.Heads, samples}, block: 128, shared: 4 * tileBytes(tile)}
	var partial C.CUdeviceptr
	inShared := 0
	if a.DBias.Ok() {
		s.grid[2] = min(samples, ceil(2*d.gpu.Processors, tiles*a.Heads))
		if partial, err = d.scratch("attention's bias gradient", 4*s.grid[2]*a.DBias.Len()); err != nil {
			return err
		}
		if with := s.shared + 4*64*n; with <= d.gpu.sharedMemory {
			s.shared, inShared = with, 1
		}
	}
	if err := d.launch(fmt.Sprint("attention_backward_q_", tile), s, a.DQKV, partial, delta, a.DOut, a.Out, a.LSE, a.QKV, a.Bias, a.Keep,
		samples, n, a.Heads, width, scale, inShared); err != nil {
		return err
	}
	if a.DBias.Ok() {
		if err := d.addRows(a.DBias, blas.Tensor{}, partial, s.grid[2], a.DBias.Len(), 0); err != nil {
			return err
		}
	}
	s = shape{grid: [3]int{tiles, a.Heads, samples}, block: 128, shared: 4*tileBytes(tile) + 2*4*64}
	return d.launch(fmt.Sprint("attention_backward_kv_", tile), s, a.DQKV, a.DOut, a.LSE, delta, a.QKV, a.Bias, a.Keep, n, a.Heads, width, scale)
}

// What attention_whole.cu says of a block: the numbers of a head, its tokens at most, the shared memory of one, in bytes, and that of a
// fragment of sums, 16 keys by 8 queries.
const wholeWidth, wholeTokens, wholeBytes, fragmentBytes = 64, 208, 63232, 512

// wholeHead says whether a block can hold a head, and in how much shared memory.
func (d *Device) wholeHead(a blas.AttentionBackward) (shared int, ok bool, err error) {
	n := a.LSE.Dim(2)
	if a.Out.Cols()/a.Heads != wholeWidth || n > wholeTokens {
		return 0, false, nil
	}
	for _, t := range []blas.Tensor{a.QKV, a.Out, a.DOut, a.DQKV} {
		if p, err := address(t); err != nil || p%16 != 0 {
			return 0, false, err
		}
	}
	shared = wholeBytes
	if a.DBias.Ok() {
		shared += fragmentBytes * ceil(n, 16) * ceil(n, 8)
	}
	return shared, shared <= d.gpu.sharedMemory, nil
}

// attentionBackwardWhole computes all gradients in one kernel. As many blocks as there are multiprocessors deal the samples of each head among
// them; each sums its own part of the bias's gradient.
func (d *Device) attentionBackwardWhole(a blas.AttentionBackward, shared int) error {
	samples, n := a.LSE.Dim(0), a.LSE.Dim(2)
	groups, strips := max(1, min(samples, d.gpu.Processors/a.Heads)), ceil(n, 16)
	biases, each := 1, 2*ceil(strips, 2)*2*strips // heads with a bias of their own, fragments of one
	var partial C.CUdeviceptr
	var err error
	if a.DBias.Ok() {
		biases = a.Heads
		if partial, err = d.scratch("attention's bias gradient", 4*groups*a.DBias.Len()); err != nil {
			return err
		}
	}
	fragments, err := d.scratch("attention's bias", fragmentBytes*biases*each)
	if err != nil {
		return err
	}
	if err := d.launch("attention_bias_fragments", shape{grid: [3]int{ceil(each, threads/32), biases}, block: threads}, fragments, a.Bias, n); err != nil {
		return err
	}
	s := shape{grid: [3]int{a.Heads, groups}, block: 32 * ceil(strips, 2), shared: shared}
	if err := d.launch("attention_backward_whole", s, a.DQKV, partial, a.DOut, a.Out, a.LSE, a.QKV, fragments, a.Keep, samples, n, a.Heads, float32(a.Scale())); err != nil {
		return err
	}
	if !a.DBias.Ok() {
		return nil
	}
	return d.addRows(a.DBias, blas.Tensor{}, partial, groups, a.DBias.Len(), 0)
}
