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


def compare(run):
    """Ends the program if TensorBoard sees other steps or numbers than metrics.jsonl has; gives the number of steps."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    if not lines or [line["step"] for line in lines] != list(range(1, len(lines) + 1)):
        sys.exit(f"{run}: metrics.jsonl does not hold every step once")
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        if tag not in TAGS:
            continue
        if (steps := [e.step for e in events.Scalars(tag)]) != list(range(1, len(lines) + 1)):
            wrong = next((i for i, step in enumerate(steps) if step != i + 1), len(steps))
            sys.exit(f"{run}: TensorBoard shows {len(steps)} values of {tag} for {len(lines)} steps; number {wrong + 1} is of step {steps[wrong:wrong + 1]}")
        got = {e.step: e.value for e in events.Scalars(tag)}
        for line in lines:
            want = line[tag]
            if abs(got[line["step"]] - want) > ROUNDING * max(1, abs(want)):
                sys.exit(f"{run}: {tag} of step {line['step']} is {got[line['step']]} in TensorBoard, {want} in metrics.jsonl")
    missing = set(TAGS) - set(events.Tags()["scalars"])
    if missing:
        sys.exit(f"{run}: TensorBoard finds no {', '.join(sorted(missing))}; it finds {events.Tags()['scalars']}")
    return len(lines)


def main():
    steps = compare(run := Path(sys.argv[1]))
    print(f"{run}: TensorBoard reads {steps} steps of {', '.join(TAGS)} as metrics.jsonl has them")


if __name__ == "__main__":
    main()
