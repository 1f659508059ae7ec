package student

import "fmt"

// Config is the shape of the student: a BEiT-style ViT (arXiv 2106.08254; timm's Beit with use_shared_rel_pos_bias) with one
// linear head to the teacher's width.
type Config struct {
	ImageSize  int     // pixels on a side
	PatchSize  int     // divides ImageSize
	Width      int     // D
	Depth      int     // blocks
	Heads      int     // divides Width
	MLPRatio   int     // hidden width of the MLP over D
	LayerScale float64 // initial gamma; 0 for none
	AbsPos     bool    // learned absolute positions, [N, D]
	RelPos     bool    // relative position bias shared by all blocks
	TargetDim  int     // the teacher's feature width K
}

// Grid is the number of patches on a side, Patches in all, Tokens with CLS.
func (c Config) Grid() int    { return c.ImageSize / c.PatchSize }
func (c Config) Patches() int { return c.Grid() * c.Grid() }
func (c Config) Tokens() int  { return c.Patches() + 1 }

// Validate refuses shapes that no model can have.
func (c Config) Validate() error {
	switch {
	case c.ImageSize <= 0 || c.PatchSize <= 0 || c.ImageSize%c.PatchSize != 0:
		return fmt.Errorf("image size %d is no multiple of patch size %d", c.ImageSize, c.PatchSize)
	case c.Width <= 0 || c.Heads <= 0 || c.Width%c.Heads != 0:
		return fmt.Errorf("width %d is no multiple of %d heads", c.Width, c.Heads)
	case c.Depth <= 0 || c.MLPRatio <= 0 || c.TargetDim <= 0:
		return fmt.Errorf("depth %d, mlp ratio %d and target width %d must be positive", c.Depth, c.MLPRatio, c.TargetDim)
	case c.LayerScale < 0:
		return fmt.Errorf("layer scale %g is negative", c.LayerScale)
	}
	return nil
}

// params lists the parameters under timm's names and with BEiT's initialization (modeling_pretrain.py): truncated normal 0.02,
// the ends of both branches divided by sqrt(2·layer), zero biases, relative positions from zero. The key bias does not exist
// (softmax cancels it); padding in its place keeps q, k and v's biases one vector.
func (c Config) params() []Param {
	d, hidden, pp := c.Width, c.Width*c.MLPRatio, c.PatchSize
	list := []Param{
		{Name: "cls_token", Shape: []int{1, 1, d}, Std: 0.02},
		{Name: "mask_token", Shape: []int{1, 1, d}, Std: 0.02},
		{Name: "patch_embed.proj.weight", Shape: []int{d, 3, pp, pp}, Std: 0.02, Decay: true},
		{Name: "patch_embed.proj.bias", Shape: []int{d}},
	}
	if c.AbsPos {
		list = append(list, Param{Name: "pos_embed", Shape: []int{1, c.Tokens(), d}, Std: 0.02})
	}
	if c.RelPos {
		list = append(list, Param{Name: "rel_pos_bias.relative_position_bias_table", Shape: []int{relPosRows(c.Grid()), c.Heads}})
	}
	for i := range c.Depth {
		b, end := blockName(i), 0.02/sqrt(2*float64(i+1))
		if c.LayerScale > 0 {
			list = append(list, Param{Name: b + "gamma_1", Shape: []int{d}, Value: c.LayerScale},
				Param{Name: b + "gamma_2", Shape: []int{d}, Value: c.LayerScale})
		}
		list = append(list,
			Param{Name: b + "norm1.weight", Shape: []int{d}, Value: 1}, Param{Name: b + "norm1.bias", Shape: []int{d}},
			Param{Name: b + "attn.qkv.weight", Shape: []int{3 * d, d}, Std: 0.02, Decay: true},
			Param{Name: b + "attn.q_bias", Shape: []int{d}}, Param{Shape: []int{d}}, Param{Name: b + "attn.v_bias", Shape: []int{d}},
			Param{Name: b + "attn.proj.weight", Shape: []int{d, d}, Std: end, Decay: true},
			Param{Name: b + "attn.proj.bias", Shape: []int{d}},
			Param{Name: b + "norm2.weight", Shape: []int{d}, Value: 1}, Param{Name: b + "norm2.bias", Shape: []int{d}},
			Param{Name: b + "mlp.fc1.weight", Shape: []int{hidden, d}, Std: 0.02, Decay: true},
			Param{Name: b + "mlp.fc1.bias", Shape: []int{hidden}},
			Param{Name: b + "mlp.fc2.weight", Shape: []int{d, hidden}, Std: end, Decay: true},
			Param{Name: b + "mlp.fc2.bias", Shape: []int{d}})
	}
	return append(list,
		Param{Name: "norm.weight", Shape: []int{d}, Value: 1}, Param{Name: "norm.bias", Shape: []int{d}},
		Param{Name: "target_head.weight", Shape: []int{c.TargetDim, d}, Std: 0.02, Decay: true},
		Param{Name: "target_head.bias", Shape: []int{c.TargetDim}})
}

// timm is the Python expression that builds this encoder; the weights load into it strictly.
func (c Config) timm() string {
	scale, boolean := "None", map[bool]string{false: "False", true: "True"}
	if c.LayerScale > 0 {
		scale = fmt.Sprint(c.LayerScale)
	}
	return fmt.Sprintf("timm.models.beit.Beit(img_size=%d, patch_size=%d, embed_dim=%d, depth=%d, num_heads=%d, mlp_ratio=%d, init_values=%s, "+
		"use_abs_pos_emb=%s, use_shared_rel_pos_bias=%s, global_pool='token', num_classes=0)",
		c.ImageSize, c.PatchSize, c.Width, c.Depth, c.Heads, c.MLPRatio, scale, boolean[c.AbsPos], boolean[c.RelPos])
}

func blockName(i int) string { return fmt.Sprintf("blocks.%d.", i) }

// relPosRows is the length of the relative position table for a grid of g x g patches: every offset, and three more for CLS.
func relPosRows(g int) int { return (2*g-1)*(2*g-1) + 3 }

// relPosIndex is the row of the table for each pair of tokens, [N, N], as timm's gen_relative_position_index: offsets in raster
// order; then CLS to patch, patch to CLS, CLS to CLS.
func relPosIndex(g int) []int32 {
	n, rows := g*g+1, int32(relPosRows(g))
	out := make([]int32, n*n)
	for i := range n {
		for j := range n {
			switch {
			case i == 0 && j == 0:
				out[0] = rows - 1
			case i == 0:
				out[j] = rows - 3
			case j == 0:
				out[i*n] = rows - 2
			default:
				dy, dx := (i-1)/g-(j-1)/g, (i-1)%g-(j-1)%g
				out[i*n+j] = int32((dy+g-1)*(2*g-1) + dx + g - 1)
			}
		}
	}
	return out
}
