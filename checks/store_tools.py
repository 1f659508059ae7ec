#!/usr/bin/env python3
"""Open a target store with the tools that docs/store.md names: the Python of the page is run, and what pandas, Hugging Face datasets and DuckDB
read is compared with pyarrow.

    python checks/store_tools.py STORE

Needs numpy, pyarrow, pandas, datasets and duckdb.
"""
import glob
import json
import pathlib
import re
import sys
import tempfile

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.ipc


PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/store.md"
datasets.disable_progress_bars()


def page(store, shard, patches, dim):
    """What the page's Python leaves when it runs on a store, from top to bottom."""
    names = {"P": patches, "D": dim}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        exec(block.replace("STORE/", f"{store}/").replace("DIGEST", shard), names)
    return names


def main(store):
    manifest = json.load(open(f"{store}/store.json"))
    shape = (-1, manifest["grid"][0] * manifest["grid"][1], manifest["dim"])
    paths = sorted(glob.glob(f"{store}/shards/*.arrow"))
    tables = [pa.ipc.open_file(p).read_all() for p in paths]
    rows = sum(t.num_rows for t in tables)

    with tempfile.TemporaryDirectory() as cache:
        datasets.config.HF_DATASETS_CACHE = cache
        found = page(store, pathlib.Path(paths[0]).stem, *shape[1:])
    assert len(found["patches"]) == len(found["frame"]) == tables[0].num_rows and found["data"].num_rows == rows, "the page's lines read other rows"

    frame = tables[0].drop_columns(["patches"]).to_pandas()
    assert list(frame.columns[:3]) == ["key", "image_sha256", "view"] and len(frame) == tables[0].num_rows

    with tempfile.TemporaryDirectory() as cache:
        data = datasets.load_dataset("arrow", data_files=f"{store}/shards/*.arrow", split="train", cache_dir=cache)
        assert data.num_rows == rows
        got = np.asarray(data.with_format("numpy")[0]["patches"], np.float32).reshape(shape)
    want = tables[0]["patches"][0].values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape)
    assert np.array_equal(got, want), "datasets reads other features"

    whole = tables[0]  # has float16 in either encoding if it has class tokens
    try:
        duckdb.sql("select count(*) from whole").fetchall()
        refused = False
    except duckdb.NotImplementedException as e:
        refused = True
        print(f"DuckDB {duckdb.__version__} refuses float16: {str(e).splitlines()[0]}")
    float16 = any(pa.types.is_float16(getattr(f.type, "value_type", f.type)) for f in whole.schema)
    assert refused == float16, "DuckDB and float16: docs/store.md says otherwise"
    index = pa.concat_tables(pa.ipc.open_file(p).read_all() for p in sorted(glob.glob(f"{store}/index/*.arrow")))
    counts = duckdb.sql("select view, count(*), count(distinct image_sha256) from index group by view order by view").fetchall()
    assert sum(c[1] for c in counts) == rows
    labels = pa.concat_tables(pa.ipc.open_file(p).read_all().select(["key", "view", "label"]) for p in paths)
    assert duckdb.sql("select count(*) from labels").fetchall() == [(rows,)]
    print(f"{store}: pandas, datasets {datasets.__version__} and DuckDB {duckdb.__version__} read it as docs/store.md says: {counts}")


main(sys.argv[1].rstrip("/"))
