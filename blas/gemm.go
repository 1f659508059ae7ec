package blas

import "fmt"

// Epilogue is what Gemm does with the product while it is still in registers.
type Epilogue uint8

const (
	// Plain stores the product: C = op(A)·op(B), or adds it with Accumulate.
	Plain Epilogue = iota
	// AddBias: C = op(A)·op(B) + Bias, Bias [n] added to every row.
	AddBias
	// AddBiasGELU: Aux = op(A)·op(B) + Bias, C = gelu(Aux), the exact GELU x·Φ(x) of Hendrycks & Gimpel (arXiv 1606.08415),
	// taken of Aux as stored, so that backward sees the same number.
	AddBiasGELU
	// GELUGrad: C = (op(A)·op(B)) ⊙ gelu'(Aux): the backward of AddBiasGELU on the way to its pre-activation.
	GELUGrad
	// AddResidual: C = Residual + Keep[row/RowsPer] · (op(A)·op(B) + Bias): the end of a pre-norm branch with drop path. Without Keep
	// the factor is 1; where it is 0, C = Residual whatever A holds. C may be Residual itself.
	AddResidual
)

func (e Epilogue) String() string {
	return [...]string{"plain", "bias", "bias+gelu", "gelu'", "residual"}[e]
}

// Gemm is C = epilogue(op(A)·op(B)), op(A) [m, k], op(B) [k, n], C [m, n], all row-major matrices (higher ranks are seen as
// Rows x Cols). A linear layer with PyTorch's weight W [out, in] is A = x, B = W, TransB; its input gradient A = dy, B = W;
// its weight gradient A = dy, TransA, B = x, Accumulate.
type Gemm struct {
	C              Tensor // [m, n]: compute, or master (f32) for Accumulate and AddResidual
	A, B           Tensor // compute, one type
	TransA, TransB bool
	Accumulate     bool // C += instead of C =; Plain only
	Epilogue       Epilogue
	Bias           Tensor // [n], master; optional in AddResidual
	Aux            Tensor // [m, n], compute
	Residual       Tensor // [m, n], master
	// Keep, if present, has the drop path factors of the samples that the rows of A as it lies belong to. A's rows are C's: those of
	// dropped samples are undefined in C and Aux (see the package's comment), but for AddResidual. With TransA, a weight gradient, they are
	// the terms of the sums: those of dropped samples count 0. B is not transposed then, and A is 0 there where the device does not skip.
	Keep    Tensor // [A's rows/RowsPer], master; optional
	RowsPer int    // rows of one sample, with Keep
	// Norm, if its Y is present, is the layer norm of C, done beside AddResidual while C is at hand; its X is C.
	Norm LayerNorm
	// ColSum, if present, receives += the sums of op(A) over k: the bias gradient that belongs to a weight gradient. [m], master.
	ColSum Tensor
	Label  string // for the profile: "fc1", "qkv dW"
}

// Dims are m, n, k.
func (g Gemm) Dims() (m, n, k int) {
	m, k = g.A.Rows(), g.A.Cols()
	if g.TransA {
		m, k = k, m
	}
	n = g.B.Cols()
	if g.TransB {
		n = g.B.Rows()
	}
	return m, n, k
}

// Name is "gemm" with the label.
func (g Gemm) Name() string {
	if g.Label == "" {
		return "gemm"
	}
	return "gemm " + g.Label
}

// Check panics on wrong shapes or types.
func (g Gemm) Check() {
	op := checker(g.Name())
	op.compute("A", g.A)
	op.same("B", g.B, g.A)
	m, n, k := g.Dims()
	kb := g.B.Rows()
	if g.TransB {
		kb = g.B.Cols()
	}
	op.that(k == kb, fmt.Sprintf("inner dimensions differ: A gives %d, B gives %d", k, kb))
	op.that(k > 0, "nothing to add up: the inner dimension is 0")
	op.that(g.C.Rows() == m && g.C.Cols() == n, fmt.Sprintf("C is %v, want [%d %d]", g.C, m, n))
	op.that(!g.Accumulate || g.Epilogue == Plain, "Accumulate goes with the plain epilogue only")
	op.types("C", g.C, g.A.dtype, g.A.dtype.Master())
	switch g.Epilogue {
	case AddBias:
		op.shape("Bias", g.Bias, n)
	case AddBiasGELU:
		op.shape("Bias", g.Bias, n)
		op.length("Aux", g.Aux, m*n)
		op.same("Aux", g.Aux, g.A)
	case GELUGrad:
		op.length("Aux", g.Aux, m*n)
		op.same("Aux", g.Aux, g.A)
	case AddResidual:
		op.optional("Bias", g.Bias, n)
		op.length("Residual", g.Residual, m*n)
		op.master("Residual", g.Residual)
		op.master("C", g.C)
	}
	op.keep(g.Keep, g.A.Rows(), g.RowsPer)
	op.that(!g.Keep.Ok() || !g.TransA || g.Epilogue == Plain && !g.TransB, "Keep with TransA is for weight gradients: B as it lies, the plain epilogue")
	if g.Norm.Y.Ok() {
		op.that(g.Epilogue == AddResidual && g.Norm.X == g.C, "Norm is of the C of AddResidual")
		g.Norm.Check()
	}
	op.master("Bias", g.Bias)
	op.optional("ColSum", g.ColSum, m)
	op.master("ColSum", g.ColSum)
}

// Cost is 2mnk operations and every operand once.
func (g Gemm) Cost() Cost {
	m, n, k := g.Dims()
	b := bytesOf(g.A, g.B, g.C, g.Residual, g.Bias)
	if g.Accumulate {
		b += bytesOf(g.C)
	}
	return Cost{2 * int64(m) * int64(n) * int64(k), b + bytesOf(g.Aux, g.Norm.Y)}
}
