package extract

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

func TestStagesAreLoggedWhileTheJobRuns(t *testing.T) {
	var m meter
	c := m.clock()
	time.Sleep(2 * time.Millisecond)
	c.charge(stageDecode)
	var log lines
	stop := m.logEvery(slog.New(slog.NewJSONHandler(&log, nil)), time.Millisecond)
	for deadline := time.Now().Add(10 * time.Second); len(log.all()) < 3 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	stop()
	seen := log.all()
	if len(seen) < 3 {
		t.Fatalf("only %d lines", len(seen))
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(seen[0]), &line); err != nil {
		t.Fatal(err)
	}
	for _, name := range stageNames {
		if _, ok := line[name]; !ok {
			t.Errorf("no %s in %s", name, seen[0])
		}
	}
	if got := m.times()["decode"]; got < 0.002 || got > 5 {
		t.Errorf("decoding took %v s", got)
	}
}
