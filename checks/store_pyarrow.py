#!/usr/bin/env python3
"""Check a target store with pyarrow alone: names, schema, shapes, and that every feature is finite.

    python checks/store_pyarrow.py STORE

Needs numpy and pyarrow.
"""
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc


def schema(manifest):
    patches = manifest["grid"][0] * manifest["grid"][1] * manifest["dim"]
    fields = [
        pa.field("key", pa.utf8(), False), pa.field("image_sha256", pa.binary(32), False), pa.field("view", pa.uint16(), False),
        pa.field("crop", pa.list_(pa.int32(), 4), False), pa.field("flip", pa.bool_(), False), pa.field("jitter", pa.list_(pa.float32())),
        pa.field("label", pa.int32()), pa.field("patches", pa.list_(pa.float16(), patches), False),
    ]
    if manifest["cls"]:
        fields.append(pa.field("cls", pa.list_(pa.float16(), manifest["dim"]), False))
    return pa.schema(fields)


def main(store):
    manifest = json.loads((store / "store.json").read_text())
    rows = 0
    for path in sorted((store / "shards").glob("*.arrow")):
        raw = path.read_bytes()
        assert hashlib.sha256(raw).hexdigest() == path.stem, f"{path}: the name is not the digest"
        table = pa.ipc.open_file(pa.BufferReader(raw)).read_all()
        assert table.schema.remove_metadata().equals(schema(manifest)), f"{path}: schema is\n{table.schema}"
        assert table.schema.metadata[b"mvp.producer_id"].decode() == manifest["producer_id"], f"{path}: another producer"
        table.validate(full=True)
        features = np.concatenate([c.flatten().to_numpy(zero_copy_only=False) for c in table["patches"].chunks])
        assert np.isfinite(features).all() and features.astype(np.float32).std() > 0, f"{path}: features are not finite, or all alike"
        rows += table.num_rows
    assert rows, f"{store}: no rows"
    print(f"{store}: {rows} rows, {manifest['grid']} patches of {manifest['dim']}: pyarrow reads all of it")


main(Path(sys.argv[1]))
