#!/usr/bin/env bash
# The whole pipeline on the scenes of testdata/: extract, train, probe, report. `make demo` calls it with everything built.
# usage: scripts/demo.sh FOLDER [--set key=value]...
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: scripts/demo.sh FOLDER [--set key=value]...}
shift
teacher=testdata/teacher/teacher.onnx train=testdata/scenes/train test=testdata/scenes/test
say() { printf '\n== %s\n' "$*" >&2; }

say "1/4 targets: the teacher's patch features of the training scenes, into $out/store"
bin/mvp-extract --model $teacher --images $train --out "$out/store" --view rrc --views 4 --min-scale 0.5

say "2/4 training: a small student learns to predict them from masked scenes, into $out/run"
rm -rf "$out/run"
bin/mvp-train --recipe pipelines/demo.toml --targets "$out/store" --images $train --out "$out/run" "$@"

say "3/4 probes: what a linear classifier reads from the student's features, trained and untrained"
bin/mvp-eval probe --checkpoint "$out/run" --train $train --test $test --out "$out/probe.json"
bin/mvp-eval probe --checkpoint "$out/run" --untrained --train $train --test $test --out "$out/untrained.json"

say "4/4 report"
bin/mvp-eval report --run "$out/run" --targets "$out/store" --images $train --probe "$out/probe.json" --baseline "$out/untrained.json"
