"""Emoji scenes: one or two drawings on a procedural background, 64 x 64.

usage: scenes.py BUILD OUT [--verify]

Writes OUT/train/CLASS/NNNNN.jpg and OUT/test/CLASS/NNNNN.jpg, all from the
concepts of split L; train and test differ in the seed of their generator.
The label is the class that covers most pixels. --verify makes the scenes
again and compares their bytes with those in OUT.
"""
import argparse
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import concepts as concept_lib
from concepts import NAMES

SIZE = 64
VARIANTS = 6               # renderings of each drawing: size and rotation
OBJECT_SIZE = (28, 56)     # pixels, log-uniform
BACKGROUNDS, BACKGROUND_SIZE = 400, 128
CAPTION_WORDS = 16
JPEG_QUALITY = 90
SETS = {"train": (101, 2400), "test": (202, 700)}  # seed, scenes


def render_drawing(path, rng):
    """Premultiplied RGBA variants, float32 in 0..1."""
    rgba = np.asarray(Image.open(path).convert("RGBA"), np.float32).copy()
    rgba[..., :3] *= rgba[..., 3:] / 255
    channels = [Image.fromarray(np.ascontiguousarray(rgba[..., k])) for k in range(4)]
    variants = []
    for _ in range(VARIANTS):
        size = int(np.exp(rng.uniform(*np.log(OBJECT_SIZE))))
        angle = rng.uniform(-25, 25)
        kind = Image.BOX if size < 32 else Image.BILINEAR
        planes = [np.asarray(c.rotate(angle, Image.BICUBIC).resize((size, size), kind))
                  for c in channels]
        variants.append(np.stack(planes, -1).clip(0, 255).astype(np.float32) / 255)
    return variants


def render_background(kind, rng):
    """A gradient, soft noise, stripes or a checkerboard between two colors."""
    n = BACKGROUND_SIZE
    yy, xx = np.mgrid[0:n, 0:n] / n
    first = rng.rand(3)
    second = (first + rng.uniform(-.35, .35, 3)).clip(0, 1)
    turn = rng.rand() * 2 * np.pi
    ramp = np.cos(turn) * xx + np.sin(turn) * yy
    if kind == 0:
        t = (ramp - ramp.min()) / np.ptp(ramp)
    elif kind == 1:
        t = np.zeros((n, n))
        for octave in (4, 8, 16, 32):
            noise = Image.fromarray(rng.rand(octave, octave).astype(np.float32))
            t += np.asarray(noise.resize((n, n), Image.BICUBIC)) * (4 / octave)
        t = (t - t.min()) / np.ptp(t)
    elif kind == 2:
        t = .5 + .5 * np.sin(rng.uniform(10, 60) * ramp)
    else:
        cells = (xx * rng.randint(4, 14)).astype(int) + (yy * rng.randint(4, 14)).astype(int)
        t = cells % 2 * rng.uniform(.3, 1)
    image = first * (1 - t[..., None]) + second * t[..., None]
    image += rng.randn(n, n, 3) * rng.uniform(0, .03)
    return image.clip(0, 1).astype(np.float32)


class Bank:
    """Everything rendered once; a scene is then only cut and blend."""

    def __init__(self, build, seed=0):
        self.concepts = concept_lib.load(build)
        self.vocabulary = concept_lib.vocabulary(self.concepts)
        rng = np.random.RandomState(seed)
        self.drawings = [[render_drawing(f, rng) for f in o["files"]] for o in self.concepts]
        self.backgrounds = [render_background(k % 4, rng) for k in range(BACKGROUNDS)]
        self.members = {split: [[k for k, o in enumerate(self.concepts)
                                 if o["class"] == c and o["split"] in split]
                                for c in range(len(NAMES))] for split in ("L", "U", "H", "LU")}

    def paste(self, image, owner, concept, rng):
        variants = self.drawings[concept][rng.randint(len(concept_lib.VENDORS))]
        drawing = variants[rng.randint(VARIANTS)]
        if rng.rand() < .5:
            drawing = drawing[:, ::-1]
        n = len(drawing)
        y, x = rng.randint(-(n // 4), SIZE - n + n // 4 + 1, 2)
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + n, SIZE), min(x + n, SIZE)
        part = drawing[top - y:bottom - y, left - x:right - x]
        alpha = part[..., 3:]
        tint = rng.uniform(.75, 1.25, 3).astype(np.float32)
        image[top:bottom, left:right] *= 1 - alpha
        image[top:bottom, left:right] += part[..., :3] * tint
        owner[top:bottom, left:right][alpha[..., 0] > .5] = self.concepts[concept]["class"]

    def scene(self, rng, split, most=2):
        """One scene: pixels [64, 64, 3] uint8, its class, its concepts."""
        background = self.backgrounds[rng.randint(BACKGROUNDS)]
        y, x = rng.randint(BACKGROUND_SIZE - SIZE + 1, size=2)
        image = background[y:y + SIZE, x:x + SIZE] * np.float32(rng.uniform(.6, 1.2))
        owner = np.full((SIZE, SIZE), len(NAMES), np.uint8)
        chosen = []
        for _ in range(rng.randint(1, most + 1)):
            members = self.members[split][rng.randint(len(NAMES))]
            chosen.append(members[rng.randint(len(members))])
            self.paste(image, owner, chosen[-1], rng)
        label = np.bincount(owner.ravel(), minlength=len(NAMES) + 1)[:-1].argmax()
        return (image * 255).clip(0, 255).astype(np.uint8), int(label), chosen

    def caption(self, rng, chosen):
        """Shuffled, subsampled names and tags as word numbers, 0-padded."""
        text = []
        for k in chosen:
            concept = self.concepts[k]
            if rng.rand() < .6:
                text += concept["name"]
            tags = concept["tags"]
            if tags:
                for t in rng.permutation(len(tags))[:rng.randint(1, 4)]:
                    text += tags[t]
        text = text or self.concepts[chosen[0]]["name"]
        ids = [self.vocabulary[text[k]] for k in rng.permutation(len(text))][:CAPTION_WORDS]
        return ids + [0] * (CAPTION_WORDS - len(ids))


def scene_files(bank):
    """Yields (path below OUT, JPEG bytes)."""
    for name, (seed, count) in SETS.items():
        rng = np.random.RandomState(seed)
        for k in range(count):
            pixels, label, _ = bank.scene(rng, "L")
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "JPEG", quality=JPEG_QUALITY)
            yield f"{name}/{NAMES[label]}/{k:05d}.jpg", data.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="folder that fetch.sh filled")
    parser.add_argument("out", type=Path)
    parser.add_argument("--verify", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    files = dict(scene_files(Bank(args.build)))
    if args.verify:
        there = {str(f.relative_to(args.out)): f.read_bytes() for f in args.out.glob("*/*/*.jpg")}
        wrong = sorted(p for p in files.keys() | there.keys() if files.get(p) != there.get(p))
        if wrong:
            sys.exit(f"{args.out}: {len(wrong)} scenes differ, first {wrong[0]}; "
                     "are the packages those of requirements.txt?")
        print(f"{len(files)} scenes are the same to the byte")
        return
    for path, data in files.items():
        target = args.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    print(f"{len(files)} scenes, {sum(map(len, files.values())) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
