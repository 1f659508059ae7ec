package report

import (
	"fmt"
	"math"
	"strings"
)

// Measures of a chart in SVG units; the page scales it to its width.
const (
	chartWidth                         = 1000
	padLeft, padRight, padTop, padFoot = 64, 14, 10, 26
	smoothed                           = 50 // a curve is smoothed over a fiftieth of its length
)

// Chart is a curve over the steps, laid out for SVG.
type Chart struct {
	Width, Height float64
	Raw, Smooth   string // path data: the numbers, and their exponential moving average without its bias to the start
	X, Y          []Tick
	Left, Right   float64 // of the plot's area
	Top, Foot     float64
}

// Tick is a mark on an axis.
type Tick struct {
	At   float64 // SVG units
	Text string
}

// NewChart lays out values over steps; what is not finite leaves a gap. The vertical axis starts at 0.
func NewChart(steps, values []float64, height float64) Chart {
	c := Chart{Width: chartWidth, Height: height, Left: padLeft, Right: chartWidth - padRight, Top: padTop, Foot: height - padFoot}
	first, last, top := steps[0], steps[len(steps)-1], 0.0
	for _, v := range values {
		if !math.IsInf(v, 0) {
			top = math.Max(top, v) // drops NaN
		}
	}
	if top == 0 || math.IsNaN(top) {
		top = 1
	}
	x := func(s float64) float64 { return c.Left + (c.Right-c.Left)*(s-first)/math.Max(last-first, 1) }
	y := func(v float64) float64 { return c.Foot - (c.Foot-c.Top)*v/top }
	c.Raw = path(steps, values, x, y)
	c.Smooth = path(steps, smooth(values), x, y)
	for _, s := range ticks(last, 6) {
		if s >= first {
			c.X = append(c.X, Tick{x(s), fmt.Sprintf("%g", s)})
		}
	}
	for _, v := range ticks(top, max(2, int(height/45))) {
		c.Y = append(c.Y, Tick{y(v), fmt.Sprintf("%.3g", v)})
	}
	return c
}

// smooth is the exponential moving average, divided by its weights' sum as in Adam (arXiv 1412.6980), so that it has no bias to 0.
func smooth(values []float64) []float64 {
	out := make([]float64, len(values))
	past := max(0, 1-smoothed/float64(len(values)))
	sum, weight := 0.0, 0.0
	for i, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			sum, weight = past*sum+(1-past)*v, past*weight+1-past
		}
		out[i] = sum / weight
	}
	return out
}

// path is SVG path data through the points.
func path(steps, values []float64, x, y func(float64) float64) string {
	var out strings.Builder
	move := true
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			move = true
			continue
		}
		letter := 'L'
		if move {
			letter, move = 'M', false
		}
		fmt.Fprintf(&out, "%c%.1f %.1f", letter, x(steps[i]), y(v))
	}
	return out.String()
}

// ticks are round numbers from 0 to at most top, about n of them.
func ticks(top float64, n int) (out []float64) {
	raw := top / float64(n)
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	step := unit
	for _, k := range []float64{2, 5, 10} {
		if step < raw {
			step = k * unit
		}
	}
	for i := 0; float64(i)*step <= top*(1+1e-9); i++ {
		out = append(out, float64(i)*step)
	}
	return out
}
