package student

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"mvptargets/internal/atomicfile"
)

// A checkpoint is the folder RUN/checkpoints/step-NNNNNNNN: model.safetensors (the weights under timm's names), state.safetensors (the
// optimizer's) and state.json. The folder appears by a rename when all three are on disk.
const (
	checkpointDir  = "checkpoints"
	checkpointName = "step-%08d"
	modelFile      = "model.safetensors"
	stateFile      = "state.safetensors"
	progressFile   = "state.json"
)

// progressState is state.json: where the run stands and what it was trained from.
type progressState struct {
	Step       int    `json:"step"` // steps done
	ProducerID string `json:"producer_id"`
	Recipe     Recipe `json:"recipe"`
}

// save publishes a checkpoint of run.
func save(run string, m *Model, s progressState) error {
	final := filepath.Join(run, checkpointDir, fmt.Sprintf(checkpointName, s.Step))
	temp := final + ".tmp"
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	weights, err := m.Weights()
	if err != nil {
		return err
	}
	if err := WriteTensors(filepath.Join(temp, modelFile), weights); err != nil {
		return err
	}
	state, err := m.OptimizerState()
	if err != nil {
		return err
	}
	if err := WriteTensors(filepath.Join(temp, stateFile), state); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(temp, progressFile), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(final); err != nil { // the same step of a run that was resumed: the same numbers
		return err
	}
	return os.Rename(temp, final)
}

// latest is the newest checkpoint of run; "" if there is none.
func latest(run string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(run, checkpointDir))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "step-") && !strings.HasSuffix(e.Name(), ".tmp") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	sort.Strings(names)
	return filepath.Join(run, checkpointDir, names[len(names)-1]), nil
}

// restore puts a checkpoint into m and returns where it stands.
func restore(dir string, m *Model) (progressState, error) {
	var s progressState
	raw, err := os.ReadFile(filepath.Join(dir, progressFile))
	if err != nil {
		return s, fmt.Errorf("resume: %w", err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("resume: %s is damaged: %w", filepath.Join(dir, progressFile), err)
	}
	weights, err := ReadTensors(filepath.Join(dir, modelFile))
	if err != nil {
		return s, err
	}
	if err := m.SetWeights(weights); err != nil {
		return s, err
	}
	state, err := ReadTensors(filepath.Join(dir, stateFile))
	if err != nil {
		return s, err
	}
	return s, m.SetOptimizerState(state)
}
