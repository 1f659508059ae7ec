package student

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"mvptargets/blas"
	"mvptargets/internal/atomicfile"
	"mvptargets/internal/cli"
)

// Recipe is everything that decides a training run besides its data: a TOML file whose keys are all listed here. A key that is
// left out has the value of DefaultRecipe; a key that is not known is an error.
type Recipe struct {
	Model     ModelRecipe     `toml:"model"`
	Mask      MaskRecipe      `toml:"mask"`
	Loss      LossRecipe      `toml:"loss"`
	Optimizer OptimizerRecipe `toml:"optimizer"`
	Train     TrainRecipe     `toml:"train"`
}

// ModelRecipe is the student's shape; its width of targets comes from the store.
type ModelRecipe struct {
	ImageSize  int     `toml:"image_size"`
	PatchSize  int     `toml:"patch_size"`
	Width      int     `toml:"width"`
	Depth      int     `toml:"depth"`
	Heads      int     `toml:"heads"`
	MLPRatio   int     `toml:"mlp_ratio"`
	LayerScale float64 `toml:"layer_scale"` // initial gamma; 0 for none
	DropPath   float64 `toml:"drop_path"`   // rate of the last block; it rises linearly from 0
	AbsPos     bool    `toml:"abs_pos"`
	RelPos     bool    `toml:"rel_pos"`
}

// MaskRecipe is the block-wise masking, counts in patches.
type MaskRecipe struct {
	Count    int     `toml:"count"`
	MinBlock int     `toml:"min_block"`
	MaxBlock int     `toml:"max_block"` // 0: as many as are missing
	MinRatio float64 `toml:"min_ratio"`
}

// LossRecipe is the objective, taken on masked patches.
type LossRecipe struct {
	Kind string  `toml:"kind"` // cosine or smooth_l1
	Beta float64 `toml:"beta"` // of smooth_l1
}

// OptimizerRecipe is AdamW and its schedule. Learning rates are for the whole batch, as they stand: nothing scales them.
type OptimizerRecipe struct {
	LR           float64    `toml:"lr"`
	MinLR        float64    `toml:"min_lr"`
	WarmupEpochs float64    `toml:"warmup_epochs"`
	Betas        [2]float64 `toml:"betas"`
	Eps          float64    `toml:"eps"`
	WeightDecay  float64    `toml:"weight_decay"`
	ClipNorm     float64    `toml:"clip_norm"` // 0 for no clipping
}

// TrainRecipe is the length and the arithmetic of a run. A step is one update, of Batch samples in micro-batches.
type TrainRecipe struct {
	Batch      int    `toml:"batch"`
	MicroBatch int    `toml:"micro_batch"` // divides batch; 0: as suits the device
	Epochs     int    `toml:"epochs"`
	Seed       uint64 `toml:"seed"`
	DType      string `toml:"dtype"` // f32 or bf16
}

// DefaultRecipe is BEiT's pre-training recipe for ViT-B/16 (arXiv 2106.08254) with EVA's loss (arXiv 2211.07636): cosine on the masked
// patches.
func DefaultRecipe() Recipe {
	return Recipe{
		Model:     ModelRecipe{ImageSize: 224, PatchSize: 16, Width: 768, Depth: 12, Heads: 12, MLPRatio: 4, LayerScale: 0.1, DropPath: 0.1, RelPos: true},
		Mask:      MaskRecipe{Count: 75, MinBlock: 16, MinRatio: 0.3},
		Loss:      LossRecipe{Kind: "cosine", Beta: 1},
		Optimizer: OptimizerRecipe{LR: 1.5e-3, MinLR: 1e-5, WarmupEpochs: 10, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05, ClipNorm: 3},
		Train:     TrainRecipe{Batch: 2048, Epochs: 300, DType: "bf16"},
	}
}

// ReadRecipe reads a recipe file and then the settings, each "section.key=value", which win over the file.
func ReadRecipe(path string, settings []string) (Recipe, error) {
	r := DefaultRecipe()
	text, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("reading the recipe: %w", err)
	}
	if err := r.merge(text); err != nil {
		return r, fmt.Errorf("recipe %s: %w", path, err)
	}
	for _, s := range settings {
		if err := r.set(s); err != nil {
			return r, fmt.Errorf("--set %s: %w", s, err)
		}
	}
	if err := r.Validate(); err != nil {
		return r, fmt.Errorf("recipe %s: %w", path, err)
	}
	return r, nil
}

// set applies one "section.key=value". The value is TOML; a bare word is taken as a string.
func (r *Recipe) set(setting string) error {
	key, value, ok := strings.Cut(setting, "=")
	if !ok || strings.ContainsAny(setting, "\r\n") {
		return errors.New("want section.key=value, such as optimizer.lr=1e-3")
	}
	line := strings.TrimSpace(key) + " = " + strings.TrimSpace(value)
	var parsed map[string]any
	if toml.Unmarshal([]byte(line), &parsed) != nil {
		line = fmt.Sprintf("%s = %q", strings.TrimSpace(key), strings.TrimSpace(value))
	}
	return r.merge([]byte(line))
}

// merge reads TOML text over r.
func (r *Recipe) merge(text []byte) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(r)
	var unknown *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		e := unknown.Errors[0]
		line, _ := e.Position()
		return fmt.Errorf("line %d: %s", line, unknownKey(strings.Join(e.Key(), ".")))
	case errors.As(err, &bad):
		line, _ := bad.Position()
		return fmt.Errorf("line %d: %s", line, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	return err
}

// unknownKey says that a key is not known, with the nearest that is.
func unknownKey(key string) string {
	if near := cli.Nearest(key, RecipeKeys()); near != "" {
		return fmt.Sprintf("unknown key %s, did you mean %s?", key, near)
	}
	return fmt.Sprintf("unknown key %s; the keys are %s", key, strings.Join(RecipeKeys(), ", "))
}

// Masking is the recipe's masking on its own grid.
func (r Recipe) Masking() Masking {
	return Masking{Grid: r.Model.ImageSize / r.Model.PatchSize, Count: r.Mask.Count, MinBlock: r.Mask.MinBlock, MaxBlock: r.Mask.MaxBlock, MinRatio: r.Mask.MinRatio}
}

// Config is the student's shape for targets of the given width.
func (r Recipe) Config(targetDim int) Config {
	m := r.Model
	return Config{ImageSize: m.ImageSize, PatchSize: m.PatchSize, Width: m.Width, Depth: m.Depth, Heads: m.Heads, MLPRatio: m.MLPRatio,
		LayerScale: m.LayerScale, AbsPos: m.AbsPos, RelPos: m.RelPos, TargetDim: targetDim}
}

// Validate refuses what no run can follow, naming the key.
func (r Recipe) Validate() error {
	if err := r.Config(1).Validate(); err != nil {
		return fmt.Errorf("[model] %w", err)
	}
	if err := r.Masking().Validate(); err != nil {
		return fmt.Errorf("[mask] %w", err)
	}
	if _, err := blas.ParseDType(r.Train.DType); err != nil {
		return fmt.Errorf("train.dtype: %w", err)
	}
	o, t := r.Optimizer, r.Train
	switch {
	case !(r.Model.DropPath >= 0 && r.Model.DropPath < 1):
		return fmt.Errorf("model.drop_path is %g: must be at least 0 and below 1", r.Model.DropPath)
	case r.Loss.Kind != "cosine" && r.Loss.Kind != "smooth_l1":
		return fmt.Errorf("loss.kind is %q: use cosine or smooth_l1", r.Loss.Kind)
	case !(r.Loss.Beta > 0):
		return fmt.Errorf("loss.beta is %g: must be positive", r.Loss.Beta)
	case !(o.LR > 0) || !(o.MinLR >= 0) || o.MinLR > o.LR:
		return fmt.Errorf("optimizer.lr is %g and min_lr %g: want 0 <= min_lr <= lr and lr > 0", o.LR, o.MinLR)
	case !(o.Betas[0] >= 0 && o.Betas[0] < 1 && o.Betas[1] >= 0 && o.Betas[1] < 1):
		return fmt.Errorf("optimizer.betas is %v: each must be at least 0 and below 1", o.Betas)
	case !(o.Eps > 0) || !(o.WeightDecay >= 0) || !(o.ClipNorm >= 0):
		return errors.New("optimizer.eps must be positive, weight_decay and clip_norm not negative")
	case t.Epochs < 1 || t.Batch < 1:
		return fmt.Errorf("train.epochs is %d and batch %d: both must be positive", t.Epochs, t.Batch)
	case t.MicroBatch < 0 || t.MicroBatch > 0 && t.Batch%t.MicroBatch != 0:
		return fmt.Errorf("train.micro_batch is %d, batch %d: micro_batch must divide batch, or be 0 for what suits the device", t.MicroBatch, t.Batch)
	case !(o.WarmupEpochs >= 0 && o.WarmupEpochs < float64(t.Epochs)):
		return fmt.Errorf("optimizer.warmup_epochs is %g: must be at least 0 and below the %d epochs", o.WarmupEpochs, t.Epochs)
	}
	return nil
}

// Schedule is the recipe's learning rate for a store that makes stepsPerEpoch steps.
func (r Recipe) Schedule(stepsPerEpoch int) Schedule {
	return Schedule{Peak: r.Optimizer.LR, Min: r.Optimizer.MinLR,
		Warmup: int(r.Optimizer.WarmupEpochs * float64(stepsPerEpoch)), Total: r.Train.Epochs * stepsPerEpoch}
}

// Write puts the resolved recipe, every key with its value, into run as recipe.toml.
func (r Recipe) Write(run string) error {
	text, err := toml.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the recipe: %w", err)
	}
	return atomicfile.Write(filepath.Join(run, "recipe.toml"), text, 0o644)
}
