"""Do two target stores hold the same rows, with the same bytes?  python checks/same_rows.py STORE STORE

A row that a store holds twice, of two workers at once, counts once; its bytes must agree.
"""
import pathlib
import sys

import pyarrow as pa
import pyarrow.ipc


def rows(store):
    found = {}
    for path in sorted(pathlib.Path(store, "shards").glob("*.arrow")):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            columns = [batch.column(name) for name in batch.schema.names]
            for n in range(batch.num_rows):
                key = tuple(columns[batch.schema.names.index(name)][n].as_py() for name in ("key", "image_sha256", "view"))
                value = tuple(c.slice(n, 1).to_pylist()[0] if not pa.types.is_fixed_size_list(c.type) else features(c, n) for c in columns)
                if found.setdefault(key, value) != value:
                    sys.exit(f"{store}: row {key} is there twice, with other numbers")
    return found


def features(column, n):
    width = column.type.list_size
    return column.values.slice(column.offset * width + n * width, width).to_numpy(zero_copy_only=False).tobytes()


a, b = map(rows, sys.argv[1:3])
different = [key for key in a.keys() | b.keys() if a.get(key) != b.get(key)]
print(f"{sys.argv[1]} has {len(a)} rows, {sys.argv[2]} has {len(b)}; {len(different)} differ" + (f", such as {different[0][0]}" if different else ""))
sys.exit(bool(different) or not a)
