"""What torchvision makes of a class-per-folder tree, webdataset of tar files, and braceexpand of patterns. Writes golden.json and the
tar files beside it. The trees hold names only and the members of the tars a few bytes: no library here looks into an image.

Made with torchvision 0.29.2, webdataset 1.0.2, braceexpand 0.1.7:  python make_golden.py
"""
import io
import json
import pathlib
import tarfile
import tempfile

import braceexpand
import torchvision
import webdataset

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")

TREE = ["b/2.jpg", "b/10.JPEG", "b/deep/er/1.png", "b/notes.txt", "B/1.webp", "a b/1.tif", "é/1.bmp", "z/1.jpg", "_/1.tiff",
        ".hidden/1.jpg", "10/1.jpg", "9/1.jpg", "日本/1.jpg", "z/.1.jpg", "z/no_extension", "z/1.jpg.txt"]

LONG = "folder/" + "long" * 40
TARS = {
    # name -> (format, members); a member is (name, content) or (name, type, link)
    "plain": (tarfile.USTAR_FORMAT, [("0001.jpg", "a"), ("0001.cls", "7"), ("0002.cls", "3\n"), ("0002.jpg", "b"), ("0003.jpg", "c"),
              ("0003.json", '{"label": 12, "width": 3}'), ("0004.JPG", "d"), ("0004.cls", "0"), ("0004.txt", "a caption")]),
    "nested": (tarfile.PAX_FORMAT, [("./", tarfile.DIRTYPE, ""), ("./a/1.jpg", "a"), ("./a/1.cls", "1"), ("./b/1.jpg", "b"), ("./b/1.cls", "2"),
               ("c.d/1.jpg", "c"), ("c.d/1.cls", "3"), ("é/日本.jpg", "d"), ("é/日本.cls", "4"), (LONG + ".jpg", "e"), (LONG + ".cls", "5"),
               ("link.jpg", tarfile.SYMTYPE, "a/1.jpg"), ("hard.jpg", tarfile.LNKTYPE, "./a/1.jpg"), ("__meta__", "x"), ("__more__/1.jpg", "x")]),
    "grouped": (tarfile.GNU_FORMAT, [("1.png", "mask"), ("1.jpg", "a"), ("1.seg.png", "mask"), ("1.cls", "1"), ("2.jpg", "b"), ("1.cls", "9"),
                ("3.cls", "3"), ("noextension", "x"), ("3.webp", "c"), (LONG + ".png", "d"), ("4.cls", "4"), ("4.seg.png", "no image"),
                ("5.json", '{"label": 5}'), ("5.cls", "6"), ("5.gif", "e")]),
}

PATTERNS = ["a.tar", "train-{000..012}.tar", "{a,b}-{0..2}.tar", "x{1..10..3}", "x{3..1}", "x{08..10}y", "{a,b{1,2},c}", "{a}", "x{,y}", "{0..0}",
            "{-2..2}", "{001..3}", "a{b,c}d{e,f}", "{1..2}{3..4}", "{a..}", "x{5..5..2}", "{{1..2},{05..6}}"]


def tree():
    with tempfile.TemporaryDirectory() as root:
        for name in TREE:
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        data = torchvision.datasets.ImageFolder(root)
        return {"files": TREE, "classes": data.classes, "samples": sorted([str(pathlib.Path(p).relative_to(root)), c] for p, c in data.samples)}


def write_tar(path, form, members):
    with tarfile.open(path, "w", format=form) as tar:
        for name, *what in members:
            info = tarfile.TarInfo(name)
            if len(what) == 2:
                info.type, info.linkname = what
                tar.addfile(info)
            else:
                body = what[0].encode()
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))


def samples(path):
    """[sample key, suffix of its image, content, label] as a user of the library would pick them."""
    out = []
    for s in webdataset.WebDataset(str(path), shardshuffle=False):
        suffix = next((x for x in IMAGES if x in s), None)
        if suffix:
            label = int(s["cls"]) if "cls" in s else json.loads(s["json"])["label"] if "json" in s else -1
            out.append([s["__key__"], suffix, s[suffix].decode(), label])
    return out


golden = {"tree": tree(), "tars": {}, "braces": {p: list(braceexpand.braceexpand(p)) for p in PATTERNS}}
for name, (form, members) in TARS.items():
    path = HERE / f"{name}.tar"
    write_tar(path, form, members)
    golden["tars"][name] = samples(path)
(HERE / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
