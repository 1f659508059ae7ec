"""Small files of each kind of JPEG and PNG, whole and damaged, and what Pillow makes of them. Writes formats/ and formats.json:
per file [width, height, SHA-256 of the upright 8-bit RGB bytes], or null where Pillow refuses it.

Made with Pillow 13.0.0 (libjpeg-turbo 3), numpy 2.4.6:  python make_formats.py
"""
import hashlib
import io
import json
import pathlib
import struct
import warnings
import zlib

import numpy
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "formats"
W, H = 37, 29
rng = numpy.random.default_rng(0)
golden = {}


def save(name, data):
    (OUT / name).write_bytes(data)
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        golden[name] = [*image.size, hashlib.sha256(image.tobytes()).hexdigest()]
    except OSError:
        golden[name] = None


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85, **options)
    return out.getvalue()


def app1(body):
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def tiff(kind, count, value, big=False):
    """A TIFF structure with one entry: the orientation tag."""
    head = b"MM\0*" if big else b"II*\0"
    return head + struct.pack((">" if big else "<") + "IHHHI", 8, 1, 274, kind, count) + value + bytes(4)


def jpegs(image):
    plain = jpeg(image)
    after = plain[20:]  # behind the JFIF segment
    for name, options in {"444": {"subsampling": "4:4:4"}, "422": {"subsampling": "4:2:2"}, "420": {"subsampling": "4:2:0"},
                          "411": {"subsampling": "4:1:1"}, "progressive": {"progressive": True},
                          "restart": {"restart_marker_blocks": 2}, "rgb": {"keep_rgb": True}}.items():
        save(f"{name}.jpg", jpeg(image, **options))
    save("grey.jpg", jpeg(image.convert("L")))
    odd = bytearray(jpeg(image, subsampling="4:4:4"))
    odd[odd.find(b"\xff\xc0") + 14] = 0x12  # the first chroma plane twice as tall as the luma: a layout without a name
    save("odd.jpg", bytes(odd))

    cmyk = jpeg(image.convert("CMYK"))
    adobe = cmyk.find(b"\xff\xee")
    save("cmyk.jpg", cmyk)
    save("cmyk_unmarked.jpg", cmyk[:adobe] + cmyk[adobe + 16:])
    save("ycck.jpg", cmyk[:adobe + 15] + b"\x02" + cmyk[adobe + 16:])

    six, three = struct.pack("<HH", 6, 0), struct.pack("<HH", 3, 0)
    for name, entry in {"short": tiff(3, 1, six), "long": tiff(4, 1, struct.pack("<I", 6)), "byte": tiff(1, 1, b"\6\0\0\0"),
                        "big_endian": tiff(3, 1, struct.pack(">HH", 6, 0), big=True), "nine": tiff(3, 1, struct.pack("<HH", 9, 0)),
                        "cut": tiff(3, 1, six)[:12]}.items():
        save(f"exif_{name}.jpg", plain[:20] + app1(b"Exif\0\0" + entry) + after)
    save("exif_twice.jpg", plain[:20] + app1(b"Exif\0\0" + tiff(3, 1, six)) + app1(b"Exif\0\0" + tiff(3, 1, three)) + after)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    save("xmp.jpg", plain[:20] + app1(xmp) + after)

    middle = len(plain) * 3 // 4
    save("no_end.jpg", plain[:-2])
    for cut in (4, 10, 40):
        save(f"cut_{cut}.jpg", plain[:-cut])
    save("half.jpg", plain[:middle])
    save("half_closed.jpg", plain[:middle] + b"\xff\xd9")
    save("trailing.jpg", plain + bytes(50))
    save("flipped_bits.jpg", plain[:middle] + bytes([plain[middle] ^ 0x55]) + plain[middle + 1:])


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(name, depth, kind, extra=b"", high=256):
    """Random samples of that depth and colour type; high bounds each of 8 or 16 bits."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    if depth == 16:
        rows = rng.integers(0, high, (H, W * channels)).astype(">u2")
    else:
        rows = rng.integers(0, high, (H, (W * channels * depth + 7) // 8)).astype("u1")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    save(f"{name}.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, depth, kind, 0, 0, 0)) + extra
         + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def pngs():
    palette = rng.integers(0, 256, 768).astype("u1").tobytes()
    for depth in (1, 2, 4, 8):
        png(f"grey{depth}", depth, 0)
        png(f"palette{depth}", depth, 3, chunk(b"PLTE", palette[:3 << depth]))
    png("grey16", 16, 0, high=600)
    png("grey16_key", 16, 0, chunk(b"tRNS", b"\0\7"), high=600)
    png("grey8_key", 8, 0, chunk(b"tRNS", b"\0\7"))
    png("grey8_alpha", 8, 4)
    png("grey16_alpha", 16, 4, high=65536)
    png("rgb8", 8, 2)
    png("rgb8_key", 8, 2, chunk(b"tRNS", b"\0\1\0\2\0\3"))
    png("rgb16", 16, 2, high=65536)
    png("rgba8", 8, 6)
    png("rgba16", 16, 6, high=65536)
    png("palette_alpha", 8, 3, chunk(b"PLTE", palette) + chunk(b"tRNS", palette[:100]))
    png("palette_short", 8, 3, chunk(b"PLTE", palette[:300]))
    png("exif", 8, 2, chunk(b"eXIf", tiff(3, 1, struct.pack("<HH", 6, 0))))


warnings.simplefilter("ignore")
OUT.mkdir(exist_ok=True)
jpegs(Image.open(HERE.parents[2] / "testdata" / "photos" / "china.jpg").convert("RGB").resize((W, H)))
pngs()
(HERE / "formats.json").write_text(json.dumps(golden, indent=1) + "\n")
