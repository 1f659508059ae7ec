package ref

import (
	"math"

	"mvptargets/blas"
)

// LayerNorm implements blas.Device.
func (d *Device) LayerNorm(l blas.LayerNorm) {
	l.Check()
	mean, rstd := data(l.Mean), data(l.Rstd)
	weight, bias := data(l.Weight), data(l.Bias)
	stat := l.Mean.DType()
	for r := range l.X.Rows() {
		x, y := row(l.X, r), row(l.Y, r)
		var sum, sq float64
		for _, v := range x {
			sum += v
		}
		mu := sum / float64(len(x))
		for _, v := range x {
			sq += (v - mu) * (v - mu)
		}
		mean[r] = stat.Round(mu)
		rstd[r] = stat.Round(1 / math.Sqrt(sq/float64(len(x))+l.Eps))
		for c, v := range x {
			y[c] = l.Y.DType().Round((v-mean[r])*rstd[r]*weight[c] + bias[c])
		}
	}
}

// LayerNormBackward implements blas.Device.
func (d *Device) LayerNormBackward(l blas.LayerNormBackward) {
	l.Check()
	width := l.X.Cols()
	mean, rstd, weight := data(l.Mean), data(l.Rstd), data(l.Weight)
	dweight, dbias := make([]float64, width), make([]float64, width)
	in := live(l.DY, l.KeepDY, l.RowsPer)
	xhat, g := make([]float64, width), make([]float64, width)
	for r := range l.X.Rows() {
		x, dy, dx := row(l.X, r), in[r*width:(r+1)*width], row(l.DX, r)
		var meanG, meanGX float64
		for c := range x {
			xhat[c] = (x[c] - mean[r]) * rstd[r]
			g[c] = dy[c] * weight[c]
			meanG += g[c] / float64(width)
			meanGX += g[c] * xhat[c] / float64(width)
			dweight[c] += dy[c] * xhat[c]
			dbias[c] += dy[c]
		}
		for c := range x {
			v := rstd[r] * (g[c] - meanG - xhat[c]*meanGX)
			if l.Accumulate {
				v += dx[c]
			}
			dx[c] = l.DX.DType().Round(v)
			if l.Low.Ok() {
				row(l.Low, r)[c] = l.Low.DType().Round(dx[c] * keep(l.Keep, r, l.RowsPer))
			}
		}
	}
	add(l.DWeight, dweight)
	add(l.DBias, dbias)
}

// LayerScale implements blas.Device.
func (d *Device) LayerScale(l blas.LayerScale) {
	l.Check()
	w, out := data(l.Weight), data(l.ScaledWeight)
	bias, gamma, outBias := data(l.Bias), data(l.Gamma), data(l.ScaledBias)
	in := l.Weight.Cols()
	for i, v := range w {
		out[i] = l.ScaledWeight.DType().Round(gamma[i/in] * v)
	}
	for o, g := range gamma {
		outBias[o] = l.ScaledBias.DType().Round(g * bias[o])
	}
}

// LayerScaleBackward implements blas.Device.
func (d *Device) LayerScaleBackward(l blas.LayerScaleBackward) {
	l.Check()
	bias, gamma, dbias := data(l.Bias), data(l.Gamma), data(l.DBias)
	dgamma := make([]float64, len(gamma))
	for o, g := range gamma {
		w, dw := row(l.Weight, o), row(l.DWeight, o)
		for i := range w {
			dgamma[o] += dw[i] * w[i]
			dw[i] = l.DWeight.DType().Round(g * dw[i])
		}
		dgamma[o] += dbias[o] * bias[o]
		dbias[o] = l.DBias.DType().Round(g * dbias[o])
	}
	add(l.DGamma, dgamma)
}

// RelPosBias implements blas.Device.
func (d *Device) RelPosBias(r blas.RelPosBias) {
	r.Check()
	bias, table, index := data(r.Bias), data(r.Table), data(r.Index)
	heads := r.Bias.Dim(0)
	for h := range heads {
		for ij, t := range index {
			bias[h*len(index)+ij] = table[int(t)*heads+h]
		}
	}
}

// RelPosBiasBackward implements blas.Device.
func (d *Device) RelPosBiasBackward(r blas.RelPosBiasBackward) {
	r.Check()
	dbias, index := data(r.DBias), data(r.Index)
	heads := r.DBias.Dim(0)
	dtable := make([]float64, r.DTable.Len())
	for h := range heads {
		for ij, t := range index {
			dtable[int(t)*heads+h] += dbias[h*len(index)+ij]
		}
	}
	add(r.DTable, dtable)
}
