"""What Pillow makes of the photographs: SHA-256 of the 8-bit RGB bytes of each file decoded, and of its views. Writes golden.json.

Made with Pillow 13.0.0 (libjpeg-turbo 3):  python make_golden.py
"""
import hashlib
import json
import pathlib

from PIL import Image, ImageOps

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
