"""Decode JPEG files and resize them as CLIP's preprocessing does, on one core, with nothing around it: libjpeg-turbo from C into memory that is
used again, then Pillow's resize, only of what the centre crop needs.

    python decode_peer.py LIBTURBOJPEG IMAGES

Files are read before. Prints one JSON line: images per second, the best of three passes, and the Pillow that resized. With pillow-simd in
place of Pillow it resizes in vectors.
"""
import ctypes
import json
import sys
import time
from pathlib import Path

import PIL
from PIL import Image

SIDE, RGBX = 224, 2
tj = ctypes.CDLL(sys.argv[1])
tj.tjInitDecompress.restype = ctypes.c_void_p
number = ctypes.c_int
tj.tjDecompressHeader3.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong] + 4 * [ctypes.POINTER(number)]
tj.tjDecompress2.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p] + 5 * [number]
handle, w, h, sampling, space = tj.tjInitDecompress(), number(), number(), number(), number()
pixels = ctypes.create_string_buffer(4 * 2048 * 2048)


def decode(data):
    if tj.tjDecompressHeader3(handle, data, len(data), w, h, sampling, space) or w.value * h.value * 4 > len(pixels):
        sys.exit("not a JPEG of at most 2048x2048 pixels")
    if tj.tjDecompress2(handle, data, len(data), pixels, w.value, 0, h.value, RGBX, 0):
        sys.exit("a picture could not be decoded")
    return Image.frombuffer("RGBX", (w.value, h.value), pixels, "raw", "RGBX", 0, 1)


def view(image):
    w, h = image.size
    to_w, to_h = (SIDE, int(SIDE * h / w)) if w <= h else (int(SIDE * w / h), SIDE)
    left, top = round((to_w - SIDE) / 2), round((to_h - SIDE) / 2)
    x, y = w / to_w, h / to_h
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left * x, top * y, (left + SIDE) * x, (top + SIDE) * y))


files = [p.read_bytes() for p in sorted(Path(sys.argv[2]).glob("*.jpg"))]
best = 0
for _ in range(3):
    started = time.perf_counter()
    for data in files:
        view(decode(data))
    best = max(best, len(files) / (time.perf_counter() - started))
print(json.dumps({"rate": best, "pillow": PIL.__version__}))
