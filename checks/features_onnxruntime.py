#!/usr/bin/env python3
"""Check bin/mvp-extract against Python: the same images through Pillow and onnxruntime must give the same features.

    python checks/features_onnxruntime.py [--extract bin/mvp-extract] [--model M.onnx] [--images FOLDER]
                                          [--provider cpu] [--precision f32] [--least 0.9999]

Needs numpy, pillow, onnxruntime and pyarrow. Every image of the folder is extracted into a new store, the store is read
with pyarrow alone, and each patch's cosine to Python's float32 feature is compared with --least.
"""
import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.ipc
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def center(path, side):
    """CLIP's preprocessing: the short side to side, bicubic, then the middle; [3, side, side]."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    w, h = image.size
    w, h = (side, int(side * h / w)) if w <= h else (int(side * w / h), side)
    left, top = int(round((w - side) / 2)), int(round((h - side) / 2))
    pixels = np.asarray(image.resize((w, h), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side)), np.float32)
    return ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)


def rows(store):
    """(key, digest, patches, class token or nothing) of every row of a store, with pyarrow alone."""
    for path in sorted((store / "shards").glob("*.arrow")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem, f"{path} is not named by its digest"
        for row in pyarrow.ipc.open_file(path).read_all().to_pylist():
            yield row["key"], row["image_sha256"], np.array(row["patches"], np.float32), np.array(row.get("cls", ()), np.float32)


def cosine(a, b):
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--extract", type=Path, default=ROOT / "bin" / "mvp-extract")
    parser.add_argument("--model", type=Path, default=ROOT / "extract" / "teacher" / "testdata" / "tower.onnx")
    parser.add_argument("--images", type=Path, default=ROOT / "testdata" / "photos")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--least", type=float, default=0.9999)
    a = parser.parse_args()

    session = onnxruntime.InferenceSession(str(a.model), providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[-1]
    lowest, count = 1.0, 0
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        subprocess.run([a.extract, "--model", a.model, "--images", a.images, "--out", store, "--provider", a.provider, "--precision", a.precision,
                        "--features", "last_hidden_state"], check=True)
        manifest = json.loads((store / "store.json").read_text())
        for key, digest, patches, cls in rows(store):
            path = a.images / key
            assert hashlib.sha256(path.read_bytes()).digest() == digest, f"{key}: image_sha256 is not the file's"
            want = session.run(["last_hidden_state"], {session.get_inputs()[0].name: center(path, side)[None]})[0][0]
            got = np.concatenate([cls[None], patches.reshape(-1, manifest["dim"])])
            cos = cosine(got, want)
            lowest, count = min(lowest, float(cos.min())), count + 1
            if cos.min() < a.least:
                sys.exit(f"{key}: token {int(cos.argmin())} has cosine {cos.min():.6f} to Python's feature, less than {a.least}")
    if count == 0:
        sys.exit(f"{a.images} gave no rows")
    print(f"{count} images, lowest cosine of a token to Python's feature {lowest:.7f}")


if __name__ == "__main__":
    main()
