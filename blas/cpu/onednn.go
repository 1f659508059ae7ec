package cpu

import (
	"errors"
	"unsafe"

	"mvptargets/blas"
)

type oneDNN struct{ path, version string }

func openDNN() (*oneDNN, error)                                                      { return nil, errors.New("oneDNN is switched off") }
func (o *oneDNN) close()                                                             {}
func (o *oneDNN) matmul(g blas.Gemm, c unsafe.Pointer, t blas.DType, add bool) error { return nil }
