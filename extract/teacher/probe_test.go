package teacher

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

func choose(t *testing.T, o Options) (string, string, error) {
	t.Helper()
	if _, err := library(openvinoWheel, libraryRemedy).Find(); err != nil {
		t.Skip(err)
	}
	m := read(t, filepath.Join("testdata", "tower.onnx"))
	f, err := m.Feature(Hidden)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o.Batch = 2
	name, err := Choose(context.Background(), slog.New(slog.NewTextHandler(&log, nil)), m, f, o)
	return name, log.String(), err
}

func TestAutoTakesTheFastestThatWorks(t *testing.T) {
	name, log, err := choose(t, Options{Precision: "f32"})
	if err != nil || name != "openvino" || !strings.Contains(log, "provider=openvino") {
		t.Errorf("chose %q, %v, and logged %s", name, err, log)
	}
}

func TestAutoSaysWhyNot(t *testing.T) {
	broken := providers
	defer func() { providers = broken }()
	// The child has the real table, so a provider that it does not know is one that does not work.
	providers = append([]provider{{"imaginary", library(openvinoWheel, libraryRemedy), []string{"f32"}, false, nil, nil}}, providers...)
	name, log, err := choose(t, Options{Precision: "f32"})
	if err != nil || name != "openvino" || !strings.Contains(log, "not imaginary: unknown provider") {
		t.Errorf("chose %q, %v, and logged %s", name, err, log)
	}
}

func TestAutoWithNothingThatFits(t *testing.T) {
	if _, _, err := choose(t, Options{Precision: "f8"}); err == nil || !strings.Contains(err.Error(), "no provider can run testdata/tower.onnx in f8") {
		t.Errorf("gives %v", err)
	}
}

func TestACrashingProbeIsReported(t *testing.T) {
	err := tryInChild(context.Background(), probeRequest{Model: "testdata/nothing.onnx"})
	if err == nil || !strings.Contains(err.Error(), "testdata/nothing.onnx does not exist") {
		t.Errorf("gives %v", err)
	}
}

func TestMissingLibrary(t *testing.T) {
	t.Setenv("MVP_ONNXRUNTIME", "/nonexistent/libonnxruntime.so")
	m := read(t, filepath.Join("testdata", "tower.onnx"))
	f, err := m.Feature(Hidden)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Open(f, Options{Provider: "cpu", Precision: "f32", Batch: 1})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/libonnxruntime.so") || !strings.Contains(err.Error(), "make deps") || strings.Contains(err.Error(), "\n") {
		t.Errorf("gives %v", err)
	}
}

func TestUnsupportedPrecision(t *testing.T) {
	m := read(t, filepath.Join("testdata", "tower.onnx"))
	f, err := m.Feature(Hidden)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(f, Options{Provider: "cpu", Precision: "bf16"}); err == nil || err.Error() != "provider cpu computes in f32 only, not bf16" {
		t.Errorf("gives %v", err)
	}
}
