package blas

// Cast converts Src to Dst's type, element by element, rounding to nearest even. With Scale, row r is first multiplied by
// Scale[r/RowsPer]: the gradient that enters a branch under drop path.
type Cast struct {
	Dst, Src Tensor // the same number of elements; master and compute types, or F16 as Src
	Scale    Tensor // [rows/RowsPer], master; optional
	RowsPer  int
}

func (c Cast) Name() string { return "cast" }
func (c Cast) Check() {
	op := checker(c.Name())
	op.length("Dst", c.Dst, c.Src.Len())
	op.compute("Dst", c.Dst)
	op.types("Src", c.Src, F32, BF16, F64, F16)
	op.keep(c.Scale, c.Src.Rows(), c.RowsPer)
}
func (c Cast) Cost() Cost { return Cost{0, bytesOf(c.Dst, c.Src)} }

// Patches cuts images into patches and normalizes them: Dst[b·P+i] is patch i (raster order) of image b, its numbers in the
// order channel, row, column, as a convolution kernel [out, 3, p, p] reads them; each is (pixel/255 - Mean)/Std. With Index, Dst[r] is the
// patch that would be at Index[r].
type Patches struct {
	Dst       Tensor // [B*P, 3*p*p], compute; P = (S/p)^2; with Index [R, 3*p*p]
	Pixels    Tensor // [B, S, S, 3], U8, RGB
	Index     Tensor // [R], I32, each in [0, B*P); optional
	Patch     int    // p, divides S
	Mean, Std [3]float64
}

func (p Patches) Name() string { return "patches" }
func (p Patches) Check() {
	op := checker(p.Name())
	op.rank("Pixels", p.Pixels, 4)
	op.types("Pixels", p.Pixels, U8)
	b, s := p.Pixels.Dim(0), p.Pixels.Dim(1)
	op.shape("Pixels", p.Pixels, b, s, s, 3)
	op.that(p.Patch > 0 && s%p.Patch == 0, "the patch size must divide the image size")
	g := s / p.Patch
	rows := b * g * g
	if p.Index.Ok() {
		op.rank("Index", p.Index, 1)
		op.types("Index", p.Index, I32)
		rows = p.Index.Len()
	}
	op.shape("Dst", p.Dst, rows, 3*p.Patch*p.Patch)
	op.compute("Dst", p.Dst)
}

// Cost has a pixel's byte for each number.
func (p Patches) Cost() Cost {
	n := int64(p.Dst.Len())
	return Cost{2 * n, n + bytesOf(p.Dst, p.Index)}
}

// Tokens assembles the input of the first block: X[b,0] = CLS, X[b,1+i] = MaskToken where Mask[b,i] is not 0, else Embed[b,i];
// plus Pos, where there are absolute positions. (BEiT, arXiv 2106.08254, section 2.)
type Tokens struct {
	X         Tensor // [B, N, D], master; N = P+1
	Embed     Tensor // [B*P, D], compute
	CLS       Tensor // [D], master
	MaskToken Tensor // [D], master
	Pos       Tensor // [N, D], master; optional
	Mask      Tensor // [B, P], U8; optional: absent masks nothing
}

func (t Tokens) Name() string { return "tokens" }
func (t Tokens) Check() {
	checkTokens(checker(t.Name()), t.X, t.Embed, t.CLS, t.MaskToken, t.Pos, t.Mask)
}
func (t Tokens) Cost() Cost { return Cost{0, bytesOf(t.X, t.Embed, t.Mask)} }

// TokensBackward: DEmbed[b,i] = DX[b,1+i] where not masked, else 0; DCLS += sum over b of DX[b,0]; DMaskToken += sum of DX over
// masked places; DPos += sum over b of DX.
type TokensBackward struct {
	DEmbed     Tensor // [B*P, D], compute
	DCLS       Tensor // [D], master
	DMaskToken Tensor // [D], master
	DPos       Tensor // [N, D], master; optional
	DX         Tensor // [B, N, D], master
	Mask       Tensor // [B, P], U8; optional
}

func (t TokensBackward) Name() string { return "tokens backward" }
func (t TokensBackward) Check() {
	checkTokens(checker(t.Name()), t.DX, t.DEmbed, t.DCLS, t.DMaskToken, t.DPos, t.Mask)
}
func (t TokensBackward) Cost() Cost {
	return Cost{int64(t.DX.Len()), bytesOf(t.DX, t.DEmbed, t.Mask)}
}

func checkTokens(op checker, x, embed, cls, maskToken, pos, mask Tensor) {
	op.rank("X", x, 3)
	op.master("X", x)
	b, n, d := x.Dim(0), x.Dim(1), x.Dim(2)
	op.shape("Embed", embed, b*(n-1), d)
	op.compute("Embed", embed)
	op.shape("CLS", cls, d)
	op.shape("MaskToken", maskToken, d)
	op.optional("Pos", pos, n, d)
	op.optional("Mask", mask, b, n-1)
	op.types("Mask", mask, U8)
	for _, t := range []Tensor{cls, maskToken, pos} {
		op.same("CLS, MaskToken and Pos", t, x)
	}
}

// GatherRows: Dst[r] = Src[Index[r]], and where Index has two dimensions the sum over s of Src[Index[r,s]]: what spreading a row to several
// has as its backward. With Accumulate, Dst[r] += that.
type GatherRows struct {
	Dst        Tensor // [R, D], Src's type; compute or master for sums
	Src        Tensor // [M, D]
	Index      Tensor // [R] or [R, S], I32, each in [0, M)
	Accumulate bool
}

// Terms is S, the rows that each row of Dst adds up.
func (g GatherRows) Terms() int { return g.Index.Cols() }

// Copies reports whether nothing is added.
func (g GatherRows) Copies() bool { return g.Terms() == 1 && !g.Accumulate }

func (g GatherRows) Name() string { return "gather rows" }
func (g GatherRows) Check() {
	op := checker(g.Name())
	if g.Index.Rank() == 2 {
		checkRows(op, g.Src, g.Dst, g.Index, g.Terms())
		op.that(g.Terms() > 0, "nothing to add up: Index names no row")
	} else {
		checkRows(op, g.Src, g.Dst, g.Index)
	}
	if !g.Copies() {
		op.compute("Dst", g.Dst)
	}
}
func (g GatherRows) Cost() Cost {
	reads, sums := int64(g.Terms()), int64(g.Terms()-1)
	if g.Accumulate {
		reads, sums = reads+1, sums+1
	}
	return Cost{sums * int64(g.Dst.Len()), (reads + 1) * bytesOf(g.Dst)}
}

// ScatterRows is GatherRows' backward: Dst[Index[r]] = Src[r], every other row of Dst is 0. The indices are distinct.
type ScatterRows struct {
	Dst   Tensor // [M, D], Src's type
	Src   Tensor // [R, D]
	Index Tensor // [R], I32, distinct, each in [0, M)
}

func (s ScatterRows) Name() string { return "scatter rows" }
func (s ScatterRows) Check()       { checkRows(checker(s.Name()), s.Dst, s.Src, s.Index) }
func (s ScatterRows) Cost() Cost   { return Cost{0, bytesOf(s.Dst, s.Src)} }

func checkRows(op checker, all, some, index Tensor, terms ...int) {
	op.rank("rows", some, 2)
	op.shape("all rows", all, all.Rows(), some.Cols())
	op.same("rows", some, all)
	op.shape("Index", index, append([]int{some.Rows()}, terms...)...)
	op.types("Index", index, I32)
}
