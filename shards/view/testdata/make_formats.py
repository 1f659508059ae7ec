"""Small files of each kind of JPEG, PNG, WebP, BMP, GIF and TIFF, whole and damaged, and what Pillow makes of them. Writes formats/ and formats.json:
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
PHOTOS = HERE.parents[2] / "testdata" / "photos"
W, H = 37, 29
rng = numpy.random.default_rng(0)
golden = {}


def save(name, data):
    (OUT / name).write_bytes(data)
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        golden[name] = [*image.size, hashlib.sha256(image.tobytes()).hexdigest()]
    except (OSError, ValueError):
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


def written(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def riff(*chunks):
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(b)) + b + bytes(len(b) % 2) for n, b in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webps(image):
    alpha = image.copy()
    alpha.putalpha(image.convert("L"))
    one, odd = image.crop((0, 0, 1, 1)), image.crop((0, 0, 16, 17))
    exif = Image.Exif()
    exif[274] = 6
    for name, picture, options in [
            ("lossy", image, {"quality": 80}), ("lossy_low", image, {"quality": 5}), ("lossy_fast", image, {"quality": 60, "method": 0}),
            ("lossless", image, {"lossless": True}), ("alpha", alpha, {"quality": 80}), ("alpha_low", alpha, {"quality": 80, "alpha_quality": 10}),
            ("alpha_lossless", alpha, {"lossless": True}), ("alpha_exact", alpha, {"lossless": True, "exact": True}),
            ("palette", image.quantize(13).convert("RGB"), {"lossless": True}), ("one", one, {"quality": 80}), ("even", odd, {"quality": 80}),
            ("grey", image.convert("L"), {"quality": 80}), ("exif", image, {"quality": 80, "exif": exif}),
            ("icc", image, {"quality": 80, "icc_profile": b"a profile"})]:
        save(f"{name}.webp", written(picture, "WEBP", **options))
    turned = image.rotate(180)
    save("animated.webp", written(image, "WEBP", save_all=True, append_images=[turned], quality=80))
    save("animated_lossless.webp", written(image, "WEBP", save_all=True, append_images=[turned], lossless=True))
    save("animated_alpha.webp", written(alpha, "WEBP", save_all=True, append_images=[turned], quality=80))
    frame = written(odd, "WEBP", quality=80)[12:]
    u24 = lambda v: struct.pack("<I", v)[:3]
    save("animated_inside.webp", riff((b"VP8X", b"\x02\0\0\0" + u24(W - 1) + u24(H - 1)), (b"ANIM", b"\x10\x20\x30\xff\0\0"),
         (b"ANMF", u24(2) + u24(3) + u24(15) + u24(16) + u24(100) + b"\0" + frame)))
    save("xmp.webp", written(image, "WEBP", quality=80, xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'))
    photo = Image.open(PHOTOS / "china.jpg").convert("RGB").resize((321, 215))
    save("photo.webp", written(photo, "WEBP", quality=75))
    save("photo_sharp.webp", written(photo.crop((0, 0, 100, 99)), "WEBP", quality=95, method=6))
    plain = written(image, "WEBP", quality=80)
    save("cut.webp", plain[:len(plain) * 3 // 4])
    save("trailing.webp", plain + bytes(50))
    save("riff_size.webp", plain[:4] + struct.pack("<I", 1 << 20) + plain[8:])


def bmp(name, bits, compression, pixels, palette=b"", masks=b"", header=40, height=H):
    """A file with the given header, written by hand: Pillow writes few of the kinds that it reads."""
    if header == 12:
        head = struct.pack("<IHHHH", 12, W, height, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", header, W, height, 1, bits, compression, len(pixels), 2835, 2835, len(palette) // 4, 0)
        head += masks + bytes(header - 40 - len(masks)) if header > 40 else masks
    offset = 14 + len(head) + len(palette)
    save(name, struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + head + palette + pixels)


def bmps(image):
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        save(f"{mode.lower()}.bmp", written(image.convert(mode), "BMP"))

    def noise(bits):
        return rng.integers(0, 256, (W * bits + 31) // 32 * 4 * H).astype("u1").tobytes()

    palette = rng.integers(0, 256, 1024).astype("u1").tobytes()
    bmp("palette4.bmp", 4, 0, noise(4), palette[:64])
    bmp("palette1.bmp", 1, 0, noise(1), palette[:8])
    bmp("palette_short.bmp", 8, 0, bytes(v % 100 for v in noise(8)), palette[:400])
    bmp("top_down.bmp", 24, 0, noise(24), height=-H)
    bmp("x32.bmp", 32, 0, noise(32))
    bmp("rgb555.bmp", 16, 0, noise(16))
    bmp("rgb565.bmp", 16, 3, noise(16), masks=struct.pack("<III", 0xf800, 0x7e0, 0x1f))
    bmp("fields555.bmp", 16, 3, noise(16), masks=struct.pack("<III", 0x7c00, 0x3e0, 0x1f))
    bmp("fields32.bmp", 32, 3, noise(32), masks=struct.pack("<III", 0xff0000, 0xff00, 0xff))
    bmp("v4.bmp", 32, 3, noise(32), masks=struct.pack("<IIII", 0xff0000, 0xff00, 0xff, 0xff000000), header=108)
    bmp("v5.bmp", 24, 0, noise(24), header=124)
    os2 = b"".join(palette[4 * i:4 * i + 3] for i in range(256))
    bmp("os2.bmp", 8, 0, noise(8), os2, header=12)
    rows = rng.integers(0, 4, (H, W))
    rle = b"".join(b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in rows) + b"\0\1"
    bmp("rle8.bmp", 8, 1, rle, palette)
    literal = b"".join(bytes([0, W]) + row.astype("u1").tobytes() + bytes(W % 2) + b"\0\0" for row in rows) + b"\0\1"
    bmp("rle8_literal.bmp", 8, 1, literal, palette)
    bmp("rle8_short.bmp", 8, 1, b"\5\1\0\0\0\2\3\2\4\2\0\0\0\1", palette)
    rle4 = b"".join(bytes([W, int(row[0]) * 16 + int(row[1])]) + b"\0\0" for row in rows) + b"\0\1"
    bmp("rle4.bmp", 4, 2, rle4, palette[:64])
    bmp("cut.bmp", 24, 0, noise(24)[:-500])


def gifs(image):
    small = image.quantize(20)
    turned = image.rotate(180).quantize(20)
    save("plain.gif", written(small, "GIF", interlace=0))
    save("interlaced.gif", written(small, "GIF", interlace=1))
    save("grey.gif", written(image.convert("L"), "GIF"))
    save("bilevel.gif", written(image.convert("1"), "GIF"))
    save("transparent.gif", written(small, "GIF", transparency=3))
    save("animated.gif", written(small, "GIF", save_all=True, append_images=[turned], duration=100))
    plain = written(small, "GIF", interlace=0)
    save("cut.gif", plain[:len(plain) * 3 // 4])
    save("trailing.gif", plain + bytes(50))
    save("no_end.gif", plain[:-1])
    # A frame of 16 x 17 at (2, 3) of a screen of W x H, with and without a transparent colour, its palette its own or the screen's.
    frame = written(image.crop((0, 0, 16, 17)).quantize(16), "GIF", interlace=0)
    table, body = frame[13:13 + 48], frame[13 + 48:]
    body = body[body.index(b"\x2c") + 10:]
    screen = struct.pack("<6sHHBBB", b"GIF89a", W, H, 0xf3, 5, 0)
    block = struct.pack("<BHHHHB", 0x2c, 2, 3, 16, 17, 0)
    control = struct.pack("<BBBBHBB", 0x21, 0xf9, 4, 1, 10, 7, 0)
    save("inside.gif", screen + table + block + body)
    save("inside_transparent.gif", screen + table + control + block + body)
    save("local_palette.gif", screen + bytes(48) + struct.pack("<BHHHHB", 0x2c, 2, 3, 16, 17, 0x83) + table + body)
    save("outside.gif", screen + table + struct.pack("<BHHHHB", 0x2c, W - 8, H - 8, 16, 17, 0) + body)


def tiffs(image):
    wide = Image.fromarray(rng.integers(0, 65536, (H, W)).astype("u2"))
    alpha = image.copy()
    alpha.putalpha(image.convert("L"))
    for name, picture, options in [
            ("raw", image, {}), ("lzw", image, {"compression": "tiff_lzw"}), ("deflate", image, {"compression": "tiff_adobe_deflate"}),
            ("packbits", image, {"compression": "packbits"}), ("jpeg", image, {"compression": "jpeg", "quality": 85}),
            ("lzw_predictor", image, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}), ("grey8", image.convert("L"), {}),
            ("grey16", wide, {}), ("grey16_lzw", wide, {"compression": "tiff_lzw"}), ("palette", image.quantize(16), {}), ("rgba", alpha, {}),
            ("bilevel", image.convert("1"), {}), ("group3", image.convert("1"), {"compression": "group3"}),
            ("group4_white", image.convert("1"), {"compression": "group4", "tiffinfo": {262: 0}}),
            ("group4", image.convert("1"), {"compression": "group4"}), ("cmyk", image.convert("CMYK"), {}),
            ("ycbcr", image.convert("YCbCr"), {}), ("orientation", image, {"tiffinfo": {274: 6}}),
            ("zstd", image, {"compression": "zstd"}),
            ("strips", image, {"compression": "tiff_lzw", "strip_size": 1000}), ("two_pages", image, {"save_all": True, "append_images": [alpha]}),
            ("big", image, {"big_tiff": True})]:
        save(f"{name}.tif", written(picture, "TIFF", **options))
    tiff_by_hand("big_endian", ">", 2, [8, 8, 8], rng.integers(0, 256, (H, W, 3)).astype("u1").tobytes())
    tiff_by_hand("rgb16", "<", 2, [16, 16, 16], rng.integers(0, 65536, (H, W, 3)).astype("<u2").tobytes())
    tiff_by_hand("rgb16_big_endian", ">", 2, [16, 16, 16], rng.integers(0, 65536, (H, W, 3)).astype(">u2").tobytes())
    tiff_by_hand("grey16_big_endian", ">", 1, [16], rng.integers(0, 600, (H, W)).astype(">u2").tobytes())
    tiff_by_hand("white_is_zero", "<", 0, [8], rng.integers(0, 256, (H, W)).astype("u1").tobytes())
    tiff_by_hand("grey4", "<", 1, [4], rng.integers(0, 256, (H, (W + 1) // 2)).astype("u1").tobytes())
    tiff_by_hand("planar", "<", 2, [8, 8, 8], rng.integers(0, 256, (3, H, W)).astype("u1").tobytes(), planar=2)
    tiff_by_hand("float", "<", 1, [32], rng.random((H, W)).astype("<f4").tobytes(), extra=[(339, 3, 3)])
    tiff_by_hand("cut", "<", 2, [8, 8, 8], rng.integers(0, 256, (H, W, 3)).astype("u1").tobytes(), cut=500)


def tiff_by_hand(name, order, photometric, bits, pixels, planar=1, extra=(), cut=0):
    """One strip (one for each plane), no compression."""
    planes = len(bits) if planar == 2 else 1
    entries = [(256, 4, W), (257, 4, H), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (277, 3, len(bits)), (278, 4, H), (284, 3, planar)]
    entries += list(extra)
    size = 8 + 2 + 12 * (len(entries) + 2) + 4
    strips = [size + 64 + i * (len(pixels) // planes) for i in range(planes)]
    entries += [(273, 4, strips), (279, 4, [len(pixels) // planes] * planes)]
    tail = b""
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, value in sorted(entries):
        values = value if isinstance(value, list) else [value]
        body = struct.pack(order + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(body) > 4:
            tail, body = tail + body, struct.pack(order + "I", size + len(tail))
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + body.ljust(4, b"\0")
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + directory + bytes(4) + tail.ljust(64, b"\0") + pixels
    save(f"{name}.tif", data[:len(data) - cut])


warnings.simplefilter("ignore")
OUT.mkdir(exist_ok=True)
china = Image.open(PHOTOS / "china.jpg").convert("RGB").resize((W, H))
jpegs(china)
pngs()
webps(china)
bmps(china)
gifs(china)
tiffs(china)
(HERE / "formats.json").write_text(json.dumps(golden, indent=1) + "\n")
