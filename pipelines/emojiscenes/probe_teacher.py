"""Linear probe of the teacher's mean patch features: train scenes -> test scenes.

usage: probe_teacher.py TEACHER.onnx SCENES

A ridge classifier on standardized features, its one strength fixed in advance.
"""
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from concepts import NAMES
from train_teacher import normalize

RIDGE = 10.


def features(session, folder):
    files = sorted(Path(folder).glob("*/*.jpg"))
    pixels = normalize(np.stack([np.asarray(Image.open(f)) for f in files])).numpy()
    found = [session.run(["last_hidden_state"], {"pixel_values": pixels[k:k + 100]})[0][:, 1:].mean(1)
             for k in range(0, len(pixels), 100)]
    return np.concatenate(found), np.array([NAMES.index(f.parent.name) for f in files])


def main():
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    (x, y), (xt, yt) = (features(session, Path(sys.argv[2]) / s) for s in ("train", "test"))
    center, spread = x.mean(0), x.std(0) + 1e-6
    x, xt = (np.c_[(v - center) / spread, np.ones(len(v))] for v in (x, xt))
    w = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ np.eye(len(NAMES))[y])
    right = (xt @ w).argmax(1) == yt
    p = right.mean()
    print(f"{100 * p:.1f} % of {len(yt)} test scenes, standard error {100 * math.sqrt(p * (1 - p) / len(yt)):.1f}")


if __name__ == "__main__":
    main()
