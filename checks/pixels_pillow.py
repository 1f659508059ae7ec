"""Compares decoded pixels and views with Pillow's, over the test files of every format and the photographs, and prints a table:

    python checks/pixels_pillow.py [FILE...]

Exits 1 if, with libjpeg-turbo, any file that both read differs in a byte.
"""
import collections
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".webp": "WebP"}


def center(image, size=224):
    w, h = image.size
    w, h = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
    image = image.resize((w, h), Image.BICUBIC)
    left, top = round((w - size) / 2), round((h - size) / 2)
    return image.crop((left, top, left + size, top + size))


def crop(image, size=64):
    w, h = image.size
    box = (w // 2, h // 2, w // 2 + (w + 3) // 4, h // 2 + (h + 3) // 4)
    return ImageOps.mirror(image.crop(box).resize((size, size), Image.BICUBIC))


def pillow(path):
    try:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    except (OSError, ValueError):
        return None
    return {"decoded": numpy.asarray(image), "center": numpy.asarray(center(image)), "crop": numpy.asarray(crop(image))}


def ours(family, paths, out):
    """Per file a dict as pillow() gives it, or None."""
    tool = pathlib.Path(out, "tool")
    subprocess.run(["go", "build", "-o", tool, "./internal/checks/pixels"], cwd=ROOT, check=True)
    lines = subprocess.run([tool, family, out, *paths], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for n, line in enumerate(lines):
        if line.startswith("error"):
            yield None
            continue
        w, h = map(int, line.split())
        shapes = {"decoded": (h, w, 3), "center": (224, 224, 3), "crop": (64, 64, 3)}
        yield {k: numpy.fromfile(pathlib.Path(out, f"{n}.{k}"), "u1").reshape(s) for k, s in shapes.items()}


def compare(family, paths, want):
    """Rows of the table, and how many files differ."""
    kinds = collections.defaultdict(collections.Counter)
    means, most = collections.defaultdict(list), collections.Counter()
    with tempfile.TemporaryDirectory() as out:
        for path, theirs, mine in zip(paths, want, ours(family, paths, out), strict=True):
            kind = KINDS.get(path.suffix.lower(), path.suffix[1:].upper())
            count = kinds[kind]
            count["files"] += 1
            if theirs is None or mine is None:
                count["refused by both" if theirs is mine else "Pillow only" if mine is None else "here only"] += 1
                continue
            count["read by both"] += 1
            count["equal"] += all(numpy.array_equal(theirs[k], mine[k]) for k in theirs)
            if theirs["decoded"].shape == mine["decoded"].shape:
                off = numpy.abs(theirs["decoded"].astype(int) - mine["decoded"])
                means[kind].append(off.mean())
                most[kind] = max(most[kind], int(off.max()))
    rows = [f"| {kind} | {family} | {c['files']} | {c['read by both']} | {c['equal']} | {numpy.mean(means[kind]):.3f}, {most[kind]} "
            f"| {c['refused by both']} | {c['Pillow only']} | {c['here only']} |" for kind, c in sorted(kinds.items()) if family != "go" or kind == "JPEG"]
    return rows, sum(c["read by both"] - c["equal"] for c in kinds.values())


def main():
    warnings.simplefilter("ignore")
    paths = [pathlib.Path(p).resolve() for p in sys.argv[1:]] or sorted([*ROOT.glob("shards/view/testdata/formats/*"), *ROOT.glob("testdata/photos/*.[jp][pn]g")])
    want = [pillow(p) for p in paths]
    turbo, different = compare("libjpeg-turbo", paths, want)
    go, _ = compare("go", paths, want)
    print("| format | JPEG decoder | files | read by both | equal: image and views | mean and greatest difference, grey levels | refused by both | read by Pillow only | read here only |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(turbo + go))
    sys.exit(different != 0)


main()
