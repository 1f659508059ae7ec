package student

import "mvptargets/blas"

// Predict runs the encoder and the head on the uploaded micro-batch, mask and all: the student's guess of the teacher's features at the
// loss's rows, [B·LossRows, K]. For models built with LossRows above 0; their loss is not touched.
func (m *Model) Predict() ([]float64, error) {
	m.forward()
	m.head()
	return blas.Get(m.dev, m.pred)
}
