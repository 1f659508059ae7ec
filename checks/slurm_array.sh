#!/usr/bin/env bash
# On a real one-node Slurm: pipelines/slurm/extract.sbatch as an array of 4 tasks, one of them killed and requeued, makes the same store as
# one worker. Needs root, and Debian's packages, which it installs if they are missing. bin/ must be built, build/venv have pyarrow.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
    echo "skipped: a Slurm of one's own needs root"
    exit 0
fi
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    command -v apt-get >/dev/null || { echo "skipped: no slurm-wlm here, and no apt to install it with"; exit 0; }
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null ||
        { echo "skipped: slurm-wlm and munge could not be installed"; exit 0; }
fi

work=$(mktemp -d)
trap 'scripts/slurm_one_node.sh stop "$work/slurm"; rm -rf "$work"' EXIT
scripts/slurm_one_node.sh start "$work/slurm"
export SLURM_CONF=$work/slurm/slurm.conf

export MODEL=$PWD/testdata/teacher/teacher.onnx IMAGES=$PWD/testdata/scenes/test OUT=$work/array BIN=$PWD/bin MVP_DEPS=$PWD/.deps
arguments=(--provider cpu --view rrc --views 8 --shard-bytes 1000000)
job=$(sbatch --parsable --array=0-3 --cpus-per-task=1 --output="$work/%a.log" pipelines/slurm/extract.sbatch "${arguments[@]}")

# Task 1 is killed without warning while it works, and put back into the queue.
for _ in $(seq 600); do
    if grep -q planned "$work/1.log" 2>/dev/null && compgen -G "$OUT/shards/*.arrow" >/dev/null; then break; fi
    sleep 0.05
done
scancel --full --signal=KILL "${job}_1"
for _ in $(seq 100); do
    state=$(scontrol show job "${job}_1" -o | grep -o 'JobState=[A-Z]*')
    if [[ $state != *RUNNING && $state != *COMPLETING ]]; then break; fi
    sleep 0.1
done
echo "task 1 was killed: $state"
scontrol requeue "${job}_1"
# A requeued job waits two minutes; not here.
for _ in $(seq 300); do
    state=$(squeue -h -r -j "$job" -o '%i %t' | awk -v id="${job}_1" '$1 == id { print $2 }')
    if [ "$state" = PD ]; then scontrol update JobId="${job}_1" StartTime=now || true; fi
    if [ -z "$(squeue -h -j "$job")" ]; then break; fi
    sleep 0.5
done
tail -n 1 "$work"/?.log
if [ "$(grep -c ' images: ' "$work"/?.log | awk -F: '{ n += $2 } END { print n }')" -lt 4 ]; then
    echo "not all tasks came to their end"
    exit 1
fi
grep -c planned "$work/1.log" | grep -qx 2 || { echo "task 1 was not started twice"; exit 1; }

bin/mvp-extract --model "$MODEL" --images "$IMAGES" --out "$work/one" --threads 1 --loaders 1 "${arguments[@]}" 2>/dev/null
bin/mvp-shards verify "$OUT"
"${PYTHON:-build/venv/bin/python}" checks/same_rows.py "$work/one" "$OUT"
