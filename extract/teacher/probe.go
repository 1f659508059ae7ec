package teacher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
)

// probeEnv tells a child process to try a provider instead of doing the program's work.
const probeEnv = "MVP_TEACHER_PROBE"

type probeRequest struct {
	Model, Feature string
	Set            Settings
	Options        Options
}

// ProbeChild must come first in the main of every program that calls Choose: in a child process that Choose started it
// tries one provider, says why it does not work, if so, and exits.
func ProbeChild() {
	request := os.Getenv(probeEnv)
	if request == "" {
		return
	}
	if err := probe(request); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func probe(request string) error {
	var r probeRequest
	if err := json.Unmarshal([]byte(request), &r); err != nil {
		return fmt.Errorf("%s: %w", probeEnv, err)
	}
	m, err := Read(r.Model, r.Set)
	if err != nil {
		return err
	}
	f, err := m.Feature(r.Feature)
	if err != nil {
		return err
	}
	s, err := m.Open(f, r.Options)
	if err != nil {
		return err
	}
	b, err := s.NewBatch()
	if err != nil {
		return err
	}
	return s.Run(b)
}

// Choose finds the first provider, the fastest first, that can run the model at the precision asked for, and logs which it
// is and why not those before it. Each is tried on a batch in a child process: every build of onnxruntime has its own
// library of which a process can hold one, and a broken driver may crash. The last one left is not tried but taken, so
// that its own error reaches the user.
func Choose(ctx context.Context, log *slog.Logger, m *Model, f Feature, o Options) (string, error) {
	var able []provider
	var reasons []string
	for _, p := range providers {
		if err := p.supports(o.Precision, m.graph.hasHalf()); err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		able = append(able, p)
	}
	for i, p := range able {
		if i < len(able)-1 {
			o.Provider = p.name
			if err := tryInChild(ctx, probeRequest{m.Path, f.Name, m.Set, o}); err != nil {
				if ctx.Err() != nil {
					return "", ctx.Err()
				}
				reasons = append(reasons, fmt.Sprintf("not %s: %v", p.name, err))
				continue
			}
		}
		log.Info("provider chosen", "provider", p.name, "because", because(reasons))
		return p.name, nil
	}
	return "", fmt.Errorf("no provider can run %s in %s: %s", m.Path, o.Precision, strings.Join(reasons, "; "))
}

func because(reasons []string) string {
	if len(reasons) == 0 {
		return "the fastest, and it works"
	}
	return strings.Join(reasons, "; ")
}

// tryInChild runs ProbeChild in a copy of this program.
func tryInChild(ctx context.Context, r probeRequest) error {
	if os.Getenv(probeEnv) != "" {
		return errors.New("a probe must not probe; its program lacks the call of ProbeChild")
	}
	request, err := json.Marshal(r)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var out, crash bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), probeEnv+"="+string(request))
	cmd.Stdout, cmd.Stderr = &out, &crash
	err = cmd.Run()
	if err == nil {
		return nil
	}
	if reason := strings.TrimSpace(out.String()); reason != "" {
		return errors.New(reason)
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(crash.String()), "\n"); line != "" {
		return fmt.Errorf("%w: %s", err, line)
	}
	return err
}
