#!/usr/bin/env python3
"""Make features.f32: what Python's onnxruntime gives for the photographs of testdata/photos on Pillow's pixels.

    python make_features.py

Made with: python 3.11, pillow 13.0.0, onnxruntime 1.32.0, numpy 2.4.6. The teacher is ../teacher/testdata/tower.onnx.
Rows are the photographs that photos.txt lists, float32 [photographs, 17, 16], class token first.
"""
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SIDE = 32
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
HERE = Path(__file__).resolve().parent


def center(path):
    """CLIP's preprocessing: the short side to SIDE, bicubic, then the middle."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    w, h = image.size
    w, h = (SIDE, int(SIDE * h / w)) if w <= h else (int(SIDE * w / h), SIDE)
    left, top = int(round((w - SIDE) / 2)), int(round((h - SIDE) / 2))
    return np.asarray(image.resize((w, h), Image.Resampling.BICUBIC).crop((left, top, left + SIDE, top + SIDE)))


def main():
    photos = [HERE / line for line in (HERE / "photos.txt").read_text().split()]
    pixels = np.stack([center(p) for p in photos])
    values = ((pixels.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(str(HERE.parent / "teacher" / "testdata" / "tower.onnx"), providers=["CPUExecutionProvider"])
    features = session.run(["last_hidden_state"], {"pixel_values": values})[0]
    features.astype("<f4").tofile(HERE / "features.f32")
    print(f"{len(photos)} photographs, features {features.shape}")


if __name__ == "__main__":
    main()
