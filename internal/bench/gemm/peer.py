"""torch.mm's times. Each line of standard input is a product as JSON, each line printed the seconds that a call took, the mean of its calls or of
half a second of them; the first line printed is torch's version. Weight gradients come in the operands' type, as autograd makes them."""
import json
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]))
print(json.dumps({"torch": torch.__version__}), flush=True)
made, a, b = None, None, None
for line in sys.stdin:
    p = json.loads(line)
    if p != made:
        made, m, n, k = p, p["m"], p["n"], p["k"]
        dtype = torch.float32 if p["dtype"] == "f32" else torch.bfloat16
        a = torch.randn((k, m) if p["kind"] == "dW" else (m, k)).to(dtype)
        b = torch.randn((n, k) if p["kind"] == "forward" else (k, n)).to(dtype)
        a = a.t() if p["kind"] == "dW" else a
        b = b.t() if p["kind"] == "forward" else b
    for times in p["warm_up"], p["calls"]:
        calls, started, took = 0, time.perf_counter(), 0
        while calls < times and took < 0.5:
            torch.mm(a, b)
            calls, took = calls + 1, time.perf_counter() - started
    time.sleep(0.02)  # its threads look for work for some milliseconds, on the cores of who is next
    print(json.dumps({"seconds": took / calls}), flush=True)
