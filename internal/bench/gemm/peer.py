"""torch.mm's rates for the products given as JSON on standard input; prints one JSON line. Weight gradients come in the operands'
type, as autograd makes them."""
import json
import statistics
import sys
import time

import torch

request = json.load(sys.stdin)
torch.set_num_threads(request["threads"])
rates = []
for p in request["products"]:
    m, n, k = p["m"], p["n"], p["k"]
    dtype = torch.float32 if p["dtype"] == "f32" else torch.bfloat16
    a = torch.randn((k, m) if p["kind"] == "dW" else (m, k)).to(dtype)
    b = torch.randn((n, k) if p["kind"] == "forward" else (k, n)).to(dtype)
    a = a.t() if p["kind"] == "dW" else a
    b = b.t() if p["kind"] == "forward" else b
    torch.mm(a, b)
    times = []
    calls = max(1, int(30e9 / (2 * m * n * k)))  # some 0.1 s, as ours
    for _ in range(request["rounds"]):
        started = time.perf_counter()
        for _ in range(calls):
            torch.mm(a, b)
        times.append((time.perf_counter() - started) / calls)
    rates.append(2 * m * n * k / statistics.median(times) / 1e9)
print(json.dumps({"torch": torch.__version__, "rates": rates}))
