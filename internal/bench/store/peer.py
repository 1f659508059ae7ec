"""Reads the shards given as arguments with pyarrow, every column of every batch decompressed, on one core. For each line on standard
input it reads all of them once and prints how long that took, in seconds. The first line it prints is pyarrow's version."""
import sys
import time

import pyarrow as pa
import pyarrow.ipc

pa.set_cpu_count(1)
pa.set_io_thread_count(1)
options = pa.ipc.IpcReadOptions(use_threads=False)
print(pa.__version__, flush=True)
for _ in sys.stdin:
    rows = 0
    started = time.perf_counter()
    for path in sys.argv[1:]:
        with pa.memory_map(path) as source, pa.ipc.open_file(source, options=options) as file:
            for i in range(file.num_record_batches):
                rows += file.get_batch(i).num_rows
    print(time.perf_counter() - started, rows, flush=True)
