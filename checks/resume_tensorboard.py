#!/usr/bin/env python3
"""A run that is killed behind a checkpoint, continued, stopped and continued again: TensorBoard shows every step once, with the numbers of
metrics.jsonl, though the files hold the killed steps too.

    python checks/resume_tensorboard.py STORE IMAGES RECIPE EPOCHS
"""
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from metrics_tensorboard import compare

ROOT = Path(__file__).resolve().parent.parent
SAVE_EVERY = 20


def main():
    store, images, recipe, epochs = sys.argv[1:]
    with tempfile.TemporaryDirectory() as run:
        run = Path(run)
        command = [ROOT / "bin/mvp-train", "--recipe", recipe, "--targets", store, "--images", images, "--out", run, "--resume", "--save-every", str(SAVE_EVERY),
                   "--set", f"train.epochs={epochs}", "--set", "optimizer.warmup_epochs=0.2"]
        metrics = run / "metrics.jsonl"
        for upto, how in (SAVE_EVERY + 10, signal.SIGKILL), (2 * SAVE_EVERY + 10, signal.SIGTERM):
            job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while job.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < upto):
                time.sleep(0.02)
            job.send_signal(how)
            assert (status := job.wait()) == (-how if how == signal.SIGKILL else 1), f"{how.name} came too late, the status was {status}"
        last = subprocess.run(command, check=True, capture_output=True, text=True)
        steps = compare(run)
        files = sorted(run.glob("events.*"))
        written = sum(event.HasField("summary") for path in files for event in EventFileLoader(str(path)).Load())
        assert len(files) == 3 and written > steps, f"{len(files)} files with {written} steps for a run of {steps}: nothing was done twice"
        print(f"{last.stdout.strip()}\nTensorBoard shows each of {steps} steps once, out of {written} in {len(files)} files")


if __name__ == "__main__":
    main()
