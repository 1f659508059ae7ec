package student

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"mvptargets/internal/atomicfile"
)

// metricsFiles are RUN/metrics.jsonl and the TensorBoard event file of this process.
type metricsFiles struct {
	lines, file *os.File
	events      *EventWriter
}

// ReadMetrics reads RUN/metrics.jsonl; a last line that was cut short is left out. A run without a step is an error.
func ReadMetrics(run string) ([]Metrics, error) {
	path := filepath.Join(run, "metrics.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s is no run of mvp-train: %w", run, err)
	}
	var out []Metrics
	for line := range bytes.Lines(trimMetrics(text, math.MaxInt)) {
		var m Metrics
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no step yet: train first", path)
	}
	return out, nil
}

// openMetrics cuts metrics.jsonl back to the steps done and starts an event file, which tells TensorBoard to forget later steps too.
func openMetrics(run string, steps int) (*metricsFiles, error) {
	path := filepath.Join(run, "metrics.jsonl")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if err := atomicfile.Write(path, trimMetrics(old, steps), 0o644); err != nil {
		return nil, err
	}
	f := &metricsFiles{}
	if f.lines, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	now := time.Now()
	name := fmt.Sprintf("events.out.tfevents.%d.%d", now.UnixMilli(), os.Getpid()) // TensorBoard reads them in the order of their names
	if f.file, err = os.Create(filepath.Join(run, name)); err == nil {
		f.events, err = NewEventWriter(f.file, now, steps+1)
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return f, nil
}

func (f *metricsFiles) write(m Metrics) error {
	if err := appendLine(f.lines, m); err != nil {
		return err
	}
	return f.events.Write(m, time.Now())
}

// sync makes durable what a checkpoint will rely on.
func (f *metricsFiles) sync() error {
	if err := f.lines.Sync(); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}

func (f *metricsFiles) close() {
	f.lines.Close()
	if f.file != nil {
		f.file.Close()
	}
}
