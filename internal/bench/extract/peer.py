"""What a Python user would write for the same job, to compare with: Pillow in worker processes, onnxruntime, pyarrow.

    python peer.py MODEL IMAGES OUT cpu|openvino f32|bf16 BATCH THREADS

Prints one JSON line: images per second end to end (from the first file to the closed Arrow file, the session being ready
before) and of the model alone, in the same process.
"""
import json
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
from PIL import Image, ImageOps

SIDE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def load(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    w, h = image.size
    w, h = (SIDE, int(SIDE * h / w)) if w <= h else (int(SIDE * w / h), SIDE)
    left, top = round((w - SIDE) / 2), round((h - SIDE) / 2)
    image = image.resize((w, h), Image.Resampling.BICUBIC).crop((left, top, left + SIDE, top + SIDE))
    return ((np.asarray(image, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)


def session(model, provider, precision, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    if provider == "openvino":
        config = {"CPU": {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(threads)}}
        providers = [("OpenVINOExecutionProvider", {"device_type": "CPU", "load_config": json.dumps(config)})]
    made = onnxruntime.InferenceSession(model, options, providers=providers)
    if made.get_providers()[0].lower() != provider + "executionprovider":
        sys.exit(f"this onnxruntime has no provider {provider}")
    return made


def main():
    model, images, out, provider, precision, batch, threads = sys.argv[1:]
    batch, threads = int(batch), int(threads)
    net = session(model, provider, precision, threads)

    def run(pixels):
        return net.run(["last_hidden_state"], {net.get_inputs()[0].name: pixels})[0]

    def bare():
        pixels = np.random.default_rng(0).standard_normal((batch, 3, SIDE, SIDE), np.float32)
        run(pixels)
        times = []
        for _ in range(5):
            started = time.perf_counter()
            run(pixels)
            times.append(time.perf_counter() - started)
        return batch / statistics.median(times)

    alone = [bare()]
    paths = sorted(str(p) for p in Path(images).rglob("*.jpg"))
    with multiprocessing.Pool(threads) as pool:
        started = time.perf_counter()
        decoded = pool.imap(load, paths, chunksize=4)
        writer = None
        for at in range(0, len(paths), batch):
            rows = [next(decoded) for _ in paths[at:at + batch]]
            pixels = np.stack(rows + [rows[-1]] * (batch - len(rows)))
            patches = run(pixels)[:len(rows), 1:].astype(np.float16)
            width = patches.shape[1] * patches.shape[2]
            column = pa.FixedSizeListArray.from_arrays(pa.array(patches.reshape(-1)), width)
            record = pa.record_batch([pa.array(paths[at:at + len(rows)]), column], names=["key", "patches"])
            if writer is None:
                writer = pa.ipc.new_file(out, record.schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))
            writer.write_batch(record)
        writer.close()
        seconds = time.perf_counter() - started
    alone.append(bare())
    print(json.dumps({"end_to_end": len(paths) / seconds, "bare": statistics.median(alone), "bytes": Path(out).stat().st_size / len(paths)}))


if __name__ == "__main__":
    main()
