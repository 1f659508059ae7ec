package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestPartOf(t *testing.T) {
	array := func(id, first, step, count string) map[string]string {
		return map[string]string{slurmID: id, slurmMin: first, slurmStep: step, slurmCount: count}
	}
	for _, c := range []struct {
		text string
		env  map[string]string
		want string // a part, or a piece of the error
	}{
		{"", nil, "0/1"},
		{"2/5", nil, "2/5"},
		{"2/5", array("0", "0", "1", "4"), "2/5"},
		{"", array("3", "0", "1", "4"), "3/4"},
		{"", array("7", "1", "2", "4"), "3/4"}, // --array=1-7:2
		{"", array("3", "3", "1", "1"), "0/1"}, // one task of an array run again alone does all that is missing
		{"auto/8", array("3", "0", "1", "4"), "3/8"},
		{"auto/8", map[string]string{kubernetes: "5"}, "5/8"},
		{"", map[string]string{kubernetes: "5"}, "auto/N"},
		{"auto/8", nil, "neither is set"},
		{"auto/2", map[string]string{kubernetes: "2"}, "only 2 parts"},
		{"auto/x", nil, "not auto/n"},
		{"auto/0", nil, "not auto/n"},
		{"3/3", nil, "not i/n"},
		{"", array("4", "1", "2", "4"), "not in an even array"}, // --array=1,4,...
		{"", array("x", "1", "2", "4"), "not a number"},
		{"", map[string]string{slurmID: "1"}, "not a number"},
	} {
		p, err := partOf(c.text, func(name string) string { return c.env[name] })
		if got := p.String(); err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got != c.want {
			t.Errorf("--part %q with %v: %s, %v, want %s", c.text, c.env, got, err, c.want)
		}
	}
}

// Three pods of an Indexed Job, by their environment, give the rows of one worker.
func TestPodsOfAnIndexedJob(t *testing.T) {
	needsLibrary(t)
	images, whole, store := scenes(t, 40), filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "store")
	args := []string{"--model", tower, "--images", images, "--provider", "cpu", "--view", "rrc", "--out"}
	if status, _, stderr := program(t, nil, append(args, whole)...); status != 0 {
		t.Fatal(stderr)
	}
	for i := range 3 {
		status, stdout, stderr := program(t, []string{fmt.Sprintf("%s=%d", kubernetes, i)}, append(args, store, "--part", "auto/3")...)
		if status != 0 || strings.HasPrefix(stdout, "40 images") {
			t.Errorf("pod %d: status %d, %q, %q", i, status, stdout, stderr)
		}
	}
	sameRows(t, storeRows(t, store), storeRows(t, whole))
	if status, _, stderr := program(t, []string{kubernetes + "=1"}, append(args, store)...); status != 2 || !strings.Contains(stderr, "auto/N") {
		t.Errorf("without --part: status %d, %q", status, stderr)
	}
}
