package main

import (
	"fmt"
	"strconv"
	"strings"

	"mvptargets/extract"
)

// Environment variables by which a scheduler tells a task which of several it is.
const (
	slurmID    = "SLURM_ARRAY_TASK_ID" // an array's indices rise from MIN by STEP; there are COUNT of them
	slurmMin   = "SLURM_ARRAY_TASK_MIN"
	slurmStep  = "SLURM_ARRAY_TASK_STEP"
	slurmCount = "SLURM_ARRAY_TASK_COUNT"
	kubernetes = "JOB_COMPLETION_INDEX" // of an Indexed Job, from 0; the pod is not told how many there are
)

// partOf reads --part: "i/n", "auto/n" for the scheduler's i, or "" for the task's place in a Slurm array and, outside of one, all.
func partOf(text string, env func(string) string) (extract.Part, error) {
	if of, ok := strings.CutPrefix(text, "auto/"); ok {
		n, err := strconv.Atoi(of)
		if err != nil || n < 1 {
			return extract.Part{}, fmt.Errorf("part %q is not auto/n with n > 0", text)
		}
		return scheduled(n, env)
	}
	switch {
	case text != "":
		return extract.ParsePart(text)
	case env(slurmID) != "":
		n, err := number(slurmCount, env)
		if err != nil {
			return extract.Part{}, err
		}
		return scheduled(n, env)
	case env(kubernetes) != "":
		return extract.Part{}, fmt.Errorf("this is pod %s of an Indexed Job (%s): say of how many with auto/N, or 0/1 to do all", env(kubernetes), kubernetes)
	}
	return extract.Part{Index: 0, Count: 1}, nil
}

// scheduled is this task's part of n.
func scheduled(n int, env func(string) string) (extract.Part, error) {
	var i int
	var err error
	switch {
	case env(slurmID) != "":
		i, err = slurmIndex(env)
	case env(kubernetes) != "":
		i, err = number(kubernetes, env)
	default:
		return extract.Part{}, fmt.Errorf("part auto/%d needs a Slurm array (%s) or an Indexed Job of Kubernetes (%s), neither is set", n, slurmID, kubernetes)
	}
	if err != nil {
		return extract.Part{}, err
	}
	if i >= n {
		return extract.Part{}, fmt.Errorf("this is task %d, from 0, of only %d parts: they must be as many as the tasks", i, n)
	}
	return extract.Part{Index: i, Count: n}, nil
}

// slurmIndex is a task's place in its array: (ID - MIN) / STEP.
func slurmIndex(env func(string) string) (int, error) {
	var n [3]int
	for k, name := range []string{slurmID, slurmMin, slurmStep} {
		var err error
		if n[k], err = number(name, env); err != nil {
			return 0, err
		}
	}
	id, first, step := n[0], n[1], max(n[2], 1)
	if id < first || (id-first)%step != 0 {
		return 0, fmt.Errorf("task %d is not in an even array from %d by %d; give --part i/n yourself", id, first, step)
	}
	return (id - first) / step, nil
}

func number(name string, env func(string) string) (int, error) {
	n, err := strconv.Atoi(env(name))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is %q, not a number", name, env(name))
	}
	return n, nil
}
