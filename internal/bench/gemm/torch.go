package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"mvptargets/blas"
	"mvptargets/internal/cli"
)

//go:embed peer.py
var peerScript string

// torch is a Python process that computes products with torch.mm when it is asked to.
type torch struct {
	version string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	problem strings.Builder
}

func startTorch(ctx context.Context, python string, threads int) (*torch, error) {
	if python == "" {
		return nil, errors.New("no Python was given")
	}
	t := &torch{cmd: exec.CommandContext(ctx, python, "-c", peerScript, strconv.Itoa(threads))}
	t.cmd.Stderr = &t.problem
	in, err := t.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t.in, t.out = in, json.NewDecoder(out)
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	var hello struct {
		Torch string `json:"torch"`
	}
	if err := t.out.Decode(&hello); err != nil {
		return nil, t.died()
	}
	t.version = hello.Torch
	return t, nil
}

// time is how long a call of the product takes.
func (t *torch) time(p product, of blas.DType) (time.Duration, error) {
	request := struct {
		product
		DType  string `json:"dtype"`
		WarmUp int    `json:"warm_up"`
		Calls  int    `json:"calls"`
	}{p, of.String(), p.warmUp(), p.calls()}
	var answer struct {
		Seconds float64 `json:"seconds"`
	}
	if json.NewEncoder(t.in).Encode(request) != nil || t.out.Decode(&answer) != nil {
		return 0, t.died()
	}
	return time.Duration(answer.Seconds * float64(time.Second)), nil
}

// died says why no answer came.
func (t *torch) died() error {
	t.in.Close()
	err := t.cmd.Wait()
	lines := strings.Split(strings.TrimSpace(t.problem.String()), "\n")
	return fmt.Errorf("%s: %v: %s", t.cmd.Path, err, cli.OneLine(lines[len(lines)-1]))
}

func (t *torch) close() {
	t.in.Close()
	t.cmd.Wait()
}
