package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"mvptargets/internal/cli"
)

func TestShowUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--images x --out a.png":                         "want one store",
		"STORE --out a.png":                              "--images is missing",
		"STORE --images x":                               "--out is missing",
		"STORE --images x --out a.gif":                   "neither .png nor .html",
		"STORE --images x --out a.png --key k --count 3": "give one of them",
		"STORE --images x --out a.png --count 0":         "not within",
	} {
		var usage *cli.UsageError
		err := run(context.Background(), append([]string{"show"}, strings.Fields(args)...), &bytes.Buffer{})
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("show %s gives %v, want %s", args, err, want)
		}
	}
	err := run(context.Background(), []string{"show", smallStore(t), "--images", t.TempDir(), "--out", t.TempDir() + "/a.png"}, &bytes.Buffer{})
	var usage *cli.UsageError
	if err == nil || errors.As(err, &usage) {
		t.Errorf("a store of an unknown decoder gives %v", err)
	}
}
