#!/usr/bin/env bash
# The demo's student from three seeds, each probed trained and untrained. Needs what `make demo` left: bin/ and demo/store.
# usage: pipelines/emojiscenes/seeds.sh OUT [SEED...]
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: seeds.sh OUT [SEED...]}
shift
[ $# -gt 0 ] || set -- 0 1 2
scenes=testdata/scenes
for seed; do
  bin/mvp-train --recipe pipelines/demo.toml --set train.seed="$seed" --targets demo/store --images $scenes/train --out "$out/seed-$seed" --resume
  for kind in "" --untrained; do
    echo "seed $seed: $(bin/mvp-eval probe --checkpoint "$out/seed-$seed" $kind --train $scenes/train --test $scenes/test | tail -1)"
  done
done
