package student

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"mvptargets/blas"
	"mvptargets/internal/atomicfile"
)

// A checkpoint is the folder RUN/checkpoints/step-NNNNNNNN, which appears by a rename when all of it is on disk:
//
//	model.safetensors   the encoder, every tensor named and shaped as timm's Beit has it
//	state.safetensors   the rest that training goes on from: mask token, head, both moments of AdamW, its counters
//	state.json          a Checkpoint: where the run stands, its recipe, and the digests of both files
const (
	checkpointDir  = "checkpoints"
	checkpointName = "step-%08d"
	modelFile      = "model.safetensors"
	stateFile      = "state.safetensors"
	progressFile   = "state.json"
	tempSuffix     = ".tmp"
)

// Checkpoint is state.json of a checkpoint on disk.
type Checkpoint struct {
	Step       int               `json:"step"` // steps done
	Epoch      float64           `json:"epoch"`
	Milestone  bool              `json:"milestone"` // is kept when later ones come
	ProducerID string            `json:"producer_id"`
	TargetDim  int               `json:"target_dim"` // the teacher's width
	Recipe     Recipe            `json:"recipe"`
	Device     string            `json:"device"` // what computed; another gives other last bits
	SHA256     map[string]string `json:"sha256"` // of the other files, hexadecimal
	dir        string
}

// Dir is the checkpoint's folder.
func (c *Checkpoint) Dir() string { return c.dir }

// OpenCheckpoint opens a checkpoint's folder, or the newest checkpoint of a run's folder. The tensors are not read yet.
func OpenCheckpoint(path string) (*Checkpoint, error) {
	if _, err := os.Stat(filepath.Join(path, progressFile)); err == nil {
		return readCheckpoint(path)
	}
	all, err := checkpoints(path)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s is no checkpoint and no run that has one: give the --out of mvp-train, or a folder of its %s/", path, checkpointDir)
	}
	return readCheckpoint(all[len(all)-1])
}

// Encoder builds the recipe's student without head and mask for batches of n images, its weights drawn from the recipe's seed as a run
// draws them: the untrained student, until Load fills it.
func (r Recipe) Encoder(dev blas.Device, compute blas.DType, n, targetDim int) *Model {
	return NewModel(dev, r.Config(targetDim), Options{Compute: compute, Batch: n}, r.Train.Seed)
}

// Load puts the checkpoint into m, a student of its recipe and target width: the encoder, and where m has a head, all that training goes on
// from. Where a file is damaged m stays as it was.
func (c *Checkpoint) Load(m *Model) error {
	names := []string{modelFile}
	if m.LossRows > 0 {
		names = append(names, stateFile)
	}
	var files []digested
	for _, name := range names {
		if c.SHA256[name] == "" {
			return fmt.Errorf("%s is damaged: it has no SHA-256 of %s", filepath.Join(c.dir, progressFile), name)
		}
		files = append(files, digested{filepath.Join(c.dir, name), c.SHA256[name]})
	}
	return m.read(files)
}

func readCheckpoint(dir string) (*Checkpoint, error) {
	c := &Checkpoint{dir: dir}
	raw, err := os.ReadFile(filepath.Join(dir, progressFile))
	if err == nil {
		err = json.Unmarshal(raw, c)
	}
	if err == nil {
		err = c.Recipe.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s is damaged: %s: %w", dir, progressFile, err)
	}
	return c, nil
}

// checkpoints lists the checkpoints of run, the oldest first.
func checkpoints(run string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(run, checkpointDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		var step int
		if n, err := fmt.Sscanf(e.Name(), checkpointName, &step); n == 1 && err == nil && e.Name() == fmt.Sprintf(checkpointName, step) {
			out = append(out, filepath.Join(run, checkpointDir, e.Name()))
		}
	}
	sort.Strings(out)
	return out, nil
}

// save publishes a checkpoint of m as it stands, which c describes but for the digests, and returns its folder.
func save(run string, m *Model, c Checkpoint) (string, error) {
	final := filepath.Join(run, checkpointDir, fmt.Sprintf(checkpointName, c.Step))
	temp := final + tempSuffix
	if err := os.RemoveAll(temp); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	defer os.RemoveAll(temp) // what a failure left; after the rename there is nothing
	if err := fill(temp, m, c); err != nil {
		return "", fmt.Errorf("write checkpoint %s: %w", final, err)
	}
	if err := os.RemoveAll(final); err != nil { // a damaged one of a run that was resumed before it
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	if err := os.Rename(temp, final); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	return final, atomicfile.SyncDir(filepath.Dir(final))
}

// fill writes a checkpoint's files into dir.
func fill(dir string, m *Model, c Checkpoint) error {
	c.SHA256 = map[string]string{}
	for name, f := range map[string]*TensorFile{modelFile: m.Weights(), stateFile: m.TrainingState()} {
		var err error
		if c.SHA256[name], err = writeTensorFile(filepath.Join(dir, name), f); err != nil {
			return err
		}
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, progressFile), append(raw, '\n'), 0o644)
}

// prune removes the checkpoints of run but the newest keep and the milestones. What is damaged counts as no milestone.
func prune(run string, keep int) error {
	all, err := checkpoints(run)
	if err != nil {
		return fmt.Errorf("prune checkpoints: %w", err)
	}
	for _, dir := range all[:max(0, len(all)-keep)] {
		if c, err := readCheckpoint(dir); err == nil && c.Milestone {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("prune checkpoints: %w", err)
		}
	}
	return nil
}
