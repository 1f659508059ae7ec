// Package pca turns patch features into pictures: the first three principal components as red, green and blue, the usual way to
// look at dense features (as in DINOv2, arXiv 2304.07193).
package pca

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// Channels is the number of components: one per colour.
const Channels = 3

// Percentiles of a component that become black and full colour: what lies outside is clipped, so that one odd patch does not flatten
// the rest.
const lowShare, highShare = 0.01, 0.99

// Basis maps a feature of width Dim to a colour. All pictures that are to be compared must come from one Basis.
type Basis struct {
	Dim       int
	Mean      []float64           // [D]
	Axes      [Channels][]float64 // [D] each, of unit length; zeros where the features have fewer dimensions
	Low, High [Channels]float64   // of a projection: from black to full colour
	Share     [Channels]float64   // of the features' variance that lies along the axis
}

// Fit finds the principal components of features [n, dim], row-major: those of all images that the pictures will show. The sign of a
// component is arbitrary; here the axis's entry of largest magnitude is positive, so equal features give equal pictures.
func Fit(features []float32, dim int) (*Basis, error) {
	if dim <= 0 || len(features) == 0 || len(features)%dim != 0 {
		return nil, fmt.Errorf("principal components of %d numbers as features of width %d", len(features), dim)
	}
	b := &Basis{Dim: dim, Mean: make([]float64, dim)}
	n := len(features) / dim
	x := make([]float64, len(features))
	for i, f := range features {
		x[i] = float64(f)
		b.Mean[i%dim] += x[i] / float64(n)
	}
	for i := range x {
		x[i] -= b.Mean[i%dim]
	}
	covariance := mat.NewSymDense(dim, nil)
	blas64.Syrk(blas.Trans, 1/float64(n), blas64.General{Rows: n, Cols: dim, Stride: dim, Data: x}, 0, covariance.RawSymmetric())
	if trace := mat.Trace(covariance); math.IsNaN(trace) || math.IsInf(trace, 0) {
		return nil, errors.New("principal components: the features are not finite")
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(covariance, true) {
		return nil, errors.New("principal components: the eigenvalues do not converge")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	b.axes(eigen.Values(nil), &vectors)
	b.scale(features)
	return b, nil
}

// axes takes the components of largest variance; gonum sorts values ascending.
func (b *Basis) axes(values []float64, vectors *mat.Dense) {
	total := 0.0
	for _, v := range values {
		total += max(v, 0)
	}
	for c := range Channels {
		b.Axes[c] = make([]float64, b.Dim)
		i := b.Dim - 1 - c
		if i < 0 || values[i] <= 1e-12*total {
			continue
		}
		b.Share[c] = values[i] / total
		mat.Col(b.Axes[c], i, vectors)
		largest := 0
		for j, a := range b.Axes[c] {
			if math.Abs(a) > math.Abs(b.Axes[c][largest]) {
				largest = j
			}
		}
		if b.Axes[c][largest] < 0 {
			for j := range b.Axes[c] {
				b.Axes[c][j] = -b.Axes[c][j]
			}
		}
	}
}

// scale sets Low and High from the projections of features.
func (b *Basis) scale(features []float32) {
	n := len(features) / b.Dim
	along := make([]float64, n)
	for c := range Channels {
		for i := range n {
			along[i] = b.project(features[i*b.Dim:(i+1)*b.Dim], c)
		}
		slices.Sort(along)
		b.Low[c], b.High[c] = percentile(along, lowShare), percentile(along, highShare)
	}
}

// percentile interpolates between the ranks of sorted values, as numpy.percentile does.
func percentile(sorted []float64, share float64) float64 {
	at := share * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func (b *Basis) project(feature []float32, c int) (sum float64) {
	for j, a := range b.Axes[c] {
		sum += a * (float64(feature[j]) - b.Mean[j])
	}
	return sum
}

// Color is the colour of one feature [D]: mid grey along an axis that the features do not have.
func (b *Basis) Color(feature []float32) color.RGBA {
	var rgb [Channels]uint8
	for c := range Channels {
		share := 0.5
		if width := b.High[c] - b.Low[c]; width > 0 {
			share = min(max((b.project(feature, c)-b.Low[c])/width, 0), 1)
		}
		rgb[c] = uint8(math.Round(255 * share))
	}
	return color.RGBA{rgb[0], rgb[1], rgb[2], 255}
}

// Picture shows the features [h·w, D] of one image, raster order, one pixel a patch.
func (b *Basis) Picture(features []float32, h, w int) *image.RGBA {
	if len(features) != h*w*b.Dim {
		panic(fmt.Sprintf("pca: %d numbers as %dx%d features of width %d", len(features), h, w, b.Dim))
	}
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for p := range h * w {
		m.SetRGBA(p%w, p/w, b.Color(features[p*b.Dim:(p+1)*b.Dim]))
	}
	return m
}

// Normalize scales each feature [D] of features to unit length, in place: what a cosine loss compares. A feature of zeros stays.
func Normalize(features []float32, dim int) {
	for at := 0; at+dim <= len(features); at += dim {
		f := features[at : at+dim]
		sum := 0.0
		for _, x := range f {
			sum += float64(x) * float64(x)
		}
		if sum == 0 {
			continue
		}
		scale := 1 / math.Sqrt(sum)
		for i, x := range f {
			f[i] = float32(float64(x) * scale)
		}
	}
}
