"""What Pillow makes of the photographs: SHA-256 of the 8-bit RGB bytes of each file decoded, and of its views, and what
torchvision's colour jitter makes of some of these. Writes golden.json and jitter.json.

Made with Pillow 13.0.0 (libjpeg-turbo 3), torchvision 0.29.2, numpy 2.4.6:  python make_golden.py
"""
import hashlib
import itertools
import json
import pathlib

import numpy
from PIL import Image, ImageOps
from torchvision.transforms import functional

HERE = pathlib.Path(__file__).resolve().parent
PHOTOS = HERE.parents[2] / "testdata" / "photos"


def digest(image):
    return hashlib.sha256(image.tobytes()).hexdigest()


def center(image, size):
    """torchvision's Resize(size, BICUBIC) and CenterCrop(size) on a PIL image."""
    w, h = image.size
    w, h = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
    image = image.resize((w, h), Image.BICUBIC)
    left, top = round((w - size) / 2), round((h - size) / 2)
    return image.crop((left, top, left + size, top + size))


def boxes(w, h):
    """Some crops as a random resized crop gives them: large, small, at the edges, of the size itself."""
    return [(0, 0, w, h), (w // 7, h // 5, w // 2, h // 3), (w - 31, h - 29, 31, 29), (0, h // 2, w, h - h // 2), (3, 5, 64, 64)]


def jitter(image, params):
    """params: operation, factor, operation, factor ... with the numbers of ColorJitter's forward."""
    adjust = [functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation, functional.adjust_hue]
    for operation, factor in zip(params[::2], params[1::2]):
        image = adjust[operation](image, factor)
    return image


def single(value):
    return float(numpy.float32(value))  # as stored, and as torch draws it


def jitters():
    """For an image of many colours (each channel 0, 3, ... 255) and for a photograph."""
    steps = numpy.arange(0, 256, 3, dtype="u1")
    cube = numpy.stack(numpy.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, len(steps), 3)
    out = {"cube": [], "china.jpg": []}
    for params in [(0, 0), (0, 0.6), (0, 1), (0, 1.4), (1, 0), (1, 0.61), (1, 1.37), (2, 0), (2, 0.63), (2, 1.39), (3, 0), (3, 0.1), (3, -0.1),
                   (3, 0.5), (3, -0.5), (3, 0.003), (0, 3.3, 1, 2.5), (2, 4.4, 3, 0.21)]:
        params = [single(p) if i % 2 else p for i, p in enumerate(params)]
        out["cube"].append({"params": params, "pixels": digest(jitter(Image.fromarray(cube), params))})
    image = center(Image.open(PHOTOS / "china.jpg").convert("RGB"), 224)
    rng = numpy.random.default_rng(0)
    for order in itertools.permutations(range(4)):
        params = [p for op in order for p in (op, single(rng.uniform(-0.1, 0.1) if op == 3 else rng.uniform(0.6, 1.4)))]
        out["china.jpg"].append({"params": params, "pixels": digest(jitter(image, params))})
    return out


(HERE / "jitter.json").write_text(json.dumps(jitters(), indent=1) + "\n")
golden = {}
for path in sorted(PHOTOS.glob("*.[jp][pn]g")):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    w, h = image.size
    entry = golden[path.name] = {"size": [w, h], "decoded": digest(image), "center": {}, "rrc": []}
    for size in (64, 224, 336):
        entry["center"][str(size)] = digest(center(image, size))
    for i, (x, y, bw, bh) in enumerate(boxes(w, h)):
        for size in (64, 224):
            out = image.crop((x, y, x + bw, y + bh)).resize((size, size), Image.BICUBIC)
            if i % 2:
                out = ImageOps.mirror(out)
            entry["rrc"].append({"box": [x, y, bw, bh], "size": size, "flip": bool(i % 2), "pixels": digest(out)})
(HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
