package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"mvptargets/internal/cli"
)

func TestReport(t *testing.T) {
	world(t)
	for _, args := range []string{
		"probe --device ref --checkpoint run --train images --test images --out probe.json",
		"probe --device ref --checkpoint run --train images --test images --untrained --out base.json",
		"report --device ref --run run --targets store --images images --probe probe.json --baseline base.json --views 3",
		"report --device ref --run run --targets store --images images --out plain.html",
	} {
		if err := run(context.Background(), strings.Fields(args), &bytes.Buffer{}); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
	}
	full, err := os.ReadFile("run/report.html")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile("plain.html")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(full, []byte("data:image/png;base64,")); n != 3*4 {
		t.Errorf("%d pictures, want four of each of three views", n)
	}
	for _, want := range []string{"linear probe, trained<b>100.0", "linear probe, untrained<b>", `class="smooth" d="M`, "6 steps", "Learning rate"} {
		if !bytes.Contains(full, []byte(want)) {
			t.Errorf("the report lacks %q", want)
		}
	}
	for _, page := range [][]byte{full, plain} {
		for _, bad := range []string{"ZgotmplZ", "NaN", "http://", "https://", "<script"} {
			if bytes.Contains(page, []byte(bad)) {
				t.Errorf("the report has %q in it", bad)
			}
		}
	}
	if bytes.Contains(plain, []byte("linear probe")) {
		t.Error("a report without a probe speaks of one")
	}
}

func TestReportErrors(t *testing.T) {
	world(t)
	shell(t, "mkdir empty; cp -r run bare; : > bare/metrics.jsonl; cp -r run other; echo '{}' > empty.json")
	shell(t, `sed -i 's/"producer_id": "./"producer_id": "x/' other/checkpoints/step-00000006/state.json`)
	for args, want := range map[string]string{
		"--run empty --targets store --images images":                    "empty is no checkpoint and no run",
		"--run bare --targets store --images images":                     "bare/metrics.jsonl holds no step yet",
		"--run run --targets empty --images images":                      "no target store",
		"--run run --targets store --images none":                        "none do not exist",
		"--run other --targets store --images images":                    "run other was trained on targets of producer",
		"--run run --targets store --images images --probe empty.json":   "is no probe's result",
		"--run run --targets store --images images --probe missing.json": "missing.json",
	} {
		var usage *cli.UsageError
		err := run(context.Background(), append([]string{"report", "--device", "ref"}, strings.Fields(args)...), &bytes.Buffer{})
		if err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %s", args, err, want)
		}
	}
	for args, want := range map[string]string{
		"--targets store --images images":                            "--run is missing",
		"--run run --targets store --images images --views 0":        "--views 0",
		"--run run --targets store --images images --baseline x":     "--probe, which is missing",
		"--run run --targets store --images images more":             "unexpected argument",
		"--run run --targets store --images images --threads -1":     "negative",
		"--run run --targets store --images images --device quantum": "quantum",
	} {
		var usage *cli.UsageError
		if err := run(context.Background(), append([]string{"report"}, strings.Fields(args)...), &bytes.Buffer{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %s", args, err, want)
		}
	}
}
