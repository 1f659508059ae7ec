#!/usr/bin/env python3
"""Writes a target store with pyarrow alone, as docs/store.md says, and lets the programs in bin/ read it: ls, verify, a short training.

    python checks/store_foreign.py STORE

Its features are no teacher's but the pixels of a patch, less their mean, over their deviation: MAE's targets. The producer ids of the
stores given as further arguments, which mvp-extract wrote, are computed as the page says too. Needs numpy, pillow and pyarrow.
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from PIL import Image

from store_pyarrow import shard_schema

ROOT = pathlib.Path(__file__).resolve().parent.parent
IMAGES = ROOT / "testdata/scenes/test"
SIZE, PATCH, BATCH = 64, 8, 16


def producer_id(producer):
    return hashlib.sha256(json.dumps(producer, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def features(path):
    """[patches, D] float16 of the middle of an image, and the box of the whole image."""
    image = Image.open(path).convert("RGB")
    w, h = image.size
    scale = SIZE / min(w, h)
    small = image.resize((max(SIZE, int(w * scale)), max(SIZE, int(h * scale))), Image.BICUBIC)
    left, top = (small.width - SIZE) // 2, (small.height - SIZE) // 2
    pixels = np.asarray(small.crop((left, top, left + SIZE, top + SIZE)), np.float32)
    n = SIZE // PATCH
    patches = pixels.reshape(n, PATCH, n, PATCH, 3).swapaxes(1, 2).reshape(n * n, -1)
    patches = (patches - patches.mean(1, keepdims=True)) / (patches.std(1, keepdims=True) + 1)
    return patches.astype(np.float16), [0, 0, w, h]


def write(store):
    code = pathlib.Path(__file__).read_bytes()
    producer = {
        "model": [{"name": "store_foreign.py", "sha256": hashlib.sha256(code).hexdigest()}], "features": "pixels", "graph_edit": 0, "precision": "f32",
        "size": SIZE, "resize": "pillow-bicubic", "mean": [0, 0, 0], "std": [1, 1, 1], "decoder": "libjpeg-turbo",
        "policy": {"name": "center", "seed": 0}, "encoding": "f16", "schema": 1,
    }
    classes = sorted(p.name for p in IMAGES.iterdir())
    manifest = {"producer": producer, "producer_id": producer_id(producer), "grid": [SIZE // PATCH] * 2, "dim": PATCH * PATCH * 3, "cls": False,
                "classes": classes, "schema": 1}
    for folder in "shards", "index", "rejects":
        (store / folder).mkdir(parents=True)
    (store / "store.json").write_text(json.dumps(manifest))

    paths = sorted(IMAGES.glob("*/*.jpg"), key=lambda p: hashlib.sha256(str(p.relative_to(IMAGES)).encode()).digest())
    schema = shard_schema(manifest).with_metadata({
        "mvp.producer_id": manifest["producer_id"], "mvp.schema": "1", "mvp.grid": "{}x{}".format(*manifest["grid"]), "mvp.library": f"pyarrow {pa.__version__}"})
    temporary = store / "shards/.tmp-foreign"
    with pa.ipc.new_file(str(temporary), schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
        for first in range(0, len(paths), BATCH):
            some = paths[first:first + BATCH]
            patches, crops = zip(*map(features, some))
            columns = {
                "key": [str(p.relative_to(IMAGES)) for p in some], "image_sha256": [hashlib.sha256(p.read_bytes()).digest() for p in some],
                "view": [0] * len(some), "crop": list(crops), "flip": [False] * len(some), "jitter": [None] * len(some),
                "label": [classes.index(p.parent.name) for p in some],
            }
            arrays = [pa.array(columns[f.name], f.type) for f in schema if f.name != "patches"]
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(patches).ravel()), type=schema.field("patches").type))
            out.write_batch(pa.record_batch(arrays, schema=schema))
    temporary.rename(store / "shards" / f"{hashlib.sha256(temporary.read_bytes()).hexdigest()}.arrow")
    return len(paths)


def program(name, *args):
    result = subprocess.run([ROOT / "bin" / name, *map(str, args)], capture_output=True, text=True)
    assert result.returncode == 0, f"{name} {args}: {result.stderr}"
    return result.stdout


def main(store, others):
    for other in others:
        manifest = json.loads((other / "store.json").read_text())
        assert producer_id(manifest["producer"]) == manifest["producer_id"], f"{other}: the producer id is not what docs/store.md says"
    rows = write(store)
    verified = program("mvp-shards", "verify", store)
    assert f" {rows} rows, 0 repeated" in verified and " 0 problems" in verified, verified
    assert not list((store / "index").iterdir()), "verify wrote a sidecar"
    print(program("mvp-shards", "ls", store), end="")
    assert len(list((store / "index").iterdir())) == 1, "ls wrote no sidecar"
    print(program("mvp-shards", "verify", store), end="")
    with tempfile.TemporaryDirectory() as run:
        print(program("mvp-train", "--recipe", ROOT / "pipelines/demo.toml", "--targets", store, "--images", IMAGES, "--out", run, "--set", "train.epochs=1",
                      "--set", "optimizer.warmup_epochs=0.2"), end="")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), [pathlib.Path(a) for a in sys.argv[2:]])
