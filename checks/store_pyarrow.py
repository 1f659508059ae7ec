#!/usr/bin/env python3
"""Read target stores with pyarrow alone, as docs/store.md says, and hold every claim of that page that can be checked against the files.

    python checks/store_pyarrow.py STORE...

Checked: names are digests; columns and metadata of shards and sidecars; each row's identity and each batch's place in the sidecar against
the shard; features finite and not all alike, of int8 stores after multiplying out; the rule for rows that are stored twice.
Where the package xxhash is there, also the digests of the batches. Needs numpy and pyarrow.
"""
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc

try:
    import xxhash
except ImportError:
    xxhash = None


def shard_schema(manifest):
    patches = manifest["grid"][0] * manifest["grid"][1]
    numbers = patches * manifest["dim"]
    fields = [
        pa.field("key", pa.utf8(), False), pa.field("image_sha256", pa.binary(32), False), pa.field("view", pa.uint16(), False),
        pa.field("crop", pa.list_(pa.int32(), 4), False), pa.field("flip", pa.bool_(), False), pa.field("jitter", pa.list_(pa.float32())),
        pa.field("label", pa.int32()),
    ]
    if manifest["producer"]["encoding"] == "i8":
        fields += [pa.field("patches", pa.list_(pa.int8(), numbers), False), pa.field("patch_scale", pa.list_(pa.float32(), patches), False)]
    else:
        fields.append(pa.field("patches", pa.list_(pa.float16(), numbers), False))
    if manifest["cls"]:
        fields.append(pa.field("cls", pa.list_(pa.float16(), manifest["dim"]), False))
    return pa.schema(fields)


SIDECAR = pa.schema([
    pa.field("key", pa.utf8(), False), pa.field("image_sha256", pa.binary(32), False), pa.field("view", pa.uint16(), False),
    pa.field("width", pa.int32(), False), pa.field("height", pa.int32(), False), pa.field("file_size", pa.int64(), False),
    pa.field("mtime_ns", pa.int64(), False), pa.field("batch_offset", pa.int64(), False), pa.field("batch_bytes", pa.int64(), False),
    pa.field("batch_xxh3", pa.binary(16), False),
])


def features(table, manifest):
    """The patches of a table as float32, [rows, P, D]."""
    shape = (table.num_rows, manifest["grid"][0] * manifest["grid"][1], manifest["dim"])
    patches = np.concatenate([c.flatten().to_numpy(zero_copy_only=False) for c in table["patches"].chunks]).reshape(shape).astype(np.float32)
    if manifest["producer"]["encoding"] == "i8":
        scale = np.concatenate([c.flatten().to_numpy(zero_copy_only=False) for c in table["patch_scale"].chunks])
        patches *= scale.reshape(shape[0], shape[1], 1)
    return patches


def check_metadata(path, schema, manifest):
    meta = {k.decode(): v.decode() for k, v in schema.metadata.items()}
    assert meta["mvp.producer_id"] == manifest["producer_id"], f"{path}: another producer"
    assert meta["mvp.schema"] == str(manifest["schema"]), f"{path}: another version"
    return meta


def check_shard(path, manifest):
    raw = path.read_bytes()
    assert hashlib.sha256(raw).hexdigest() == path.stem, f"{path}: the name is not the digest"
    table = pa.ipc.open_file(pa.BufferReader(raw)).read_all()
    assert table.schema.remove_metadata().equals(shard_schema(manifest)), f"{path}: schema is\n{table.schema}"
    meta = check_metadata(path, table.schema, manifest)
    assert meta["mvp.grid"] == "{}x{}".format(*manifest["grid"]), f"{path}: another grid"
    table.validate(full=True)
    values = features(table, manifest)
    assert np.isfinite(values).all() and values.std() > 0, f"{path}: features are not finite, or all alike"
    check_sidecar(path, raw, table, meta, manifest)
    return list(zip(table["key"].to_pylist(), table["image_sha256"].to_pylist(), table["view"].to_pylist()))


def check_sidecar(path, raw, table, meta, manifest):
    index = path.parent.parent / "index" / path.name
    side = pa.ipc.open_file(str(index)).read_all()
    assert side.schema.remove_metadata().equals(SIDECAR), f"{index}: schema is\n{side.schema}"
    said = check_metadata(index, side.schema, manifest)
    assert said["mvp.shard_bytes"] == str(len(raw)) and said["mvp.library"] == meta["mvp.library"], f"{index}: metadata {said}"
    for name in ("key", "image_sha256", "view"):
        assert side[name].to_pylist() == table[name].to_pylist(), f"{index}: column {name} is not the shard's"
    places = list(zip(*(side[c].to_pylist() for c in ("batch_offset", "batch_bytes", "batch_xxh3"))))
    at = 0
    for offset, size, digest in dict.fromkeys(places):
        message = raw[offset:offset + size]
        batch = pa.ipc.read_record_batch(pa.py_buffer(message), table.schema)  # one batch, by its place alone
        assert batch.num_rows == places.count((offset, size, digest)), f"{index}: the batch at {offset} has {batch.num_rows} rows"
        assert batch["key"].to_pylist() == table["key"].slice(at, batch.num_rows).to_pylist(), f"{index}: the batch at {offset} has other rows"
        assert len(set(batch["view"].to_pylist())) == 1, f"{path}: the batch at {offset} has rows of several views"
        assert xxhash is None or xxhash.xxh3_128(message).digest() == digest, f"{index}: digest of the batch at {offset}"
        at += batch.num_rows
    assert at == table.num_rows, f"{index}: batches with {at} rows, the shard has {table.num_rows}"


def main(store):
    manifest = json.loads((store / "store.json").read_text())
    seen, repeats = set(), 0
    for path in sorted((store / "shards").glob("*.arrow")):
        for identity in check_shard(path, manifest):  # the first one counts
            repeats += identity in seen
            seen.add(identity)
    assert seen, f"{store}: no rows"
    for path in (store / "rejects").glob("*.jsonl"):
        raw = path.read_bytes()
        assert hashlib.sha256(raw).hexdigest() == path.stem, f"{path}: the name is not the digest"
        assert all(set(json.loads(line)) == {"key", "reason"} for line in raw.splitlines()), f"{path}: a line is not key and reason"
    print(f"{store}: {len(seen)} rows, {repeats} repeated, {manifest['grid']} patches of {manifest['dim']} as {manifest['producer']['encoding']}:"
          f" pyarrow reads all of it{'' if xxhash else '; xxhash is not there to check the digests of batches'}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
