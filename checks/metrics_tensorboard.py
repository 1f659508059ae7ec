#!/usr/bin/env python3
"""Check a run's TensorBoard files with TensorBoard: they hold the numbers of metrics.jsonl, each step once.

    python checks/metrics_tensorboard.py RUN
"""
import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = ("loss", "lr", "grad_norm", "images_per_s", "data_wait", "epoch")
ROUNDING = 1e-6  # TensorBoard keeps float32


def main():
    run = Path(sys.argv[1])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    if not lines or [line["step"] for line in lines] != list(range(1, len(lines) + 1)):
        sys.exit(f"{run}: metrics.jsonl does not hold every step once")
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        if tag not in TAGS:
            continue
        got = {e.step: e.value for e in events.Scalars(tag)}
        for line in lines:
            want = line[tag]
            if abs(got[line["step"]] - want) > ROUNDING * max(1, abs(want)):
                sys.exit(f"{run}: {tag} of step {line['step']} is {got[line['step']]} in TensorBoard, {want} in metrics.jsonl")
    missing = set(TAGS) - set(events.Tags()["scalars"])
    if missing:
        sys.exit(f"{run}: TensorBoard finds no {', '.join(sorted(missing))}; it finds {events.Tags()['scalars']}")
    print(f"TensorBoard reads {len(lines)} steps of {', '.join(TAGS)} as metrics.jsonl has them")


if __name__ == "__main__":
    main()
