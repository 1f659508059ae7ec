"""The training step that bench-step times, written with PyTorch and timm's Beit: ViT-B/16 with shared relative position bias, layer
scale, drop path and mask token, cosine loss to 512 numbers at 75 masked patches, gradient clipping, fused AdamW; bf16 by autocast. Prints one
JSON line: seconds of each step after the warm-up, and the peak memory.
"""
import argparse
import json
import os
import resource
import sys
import time

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.models.beit import Beit

ap = argparse.ArgumentParser()
ap.add_argument("--dtype", choices=["f32", "bf16"], required=True)
ap.add_argument("--batch", type=int, required=True)
ap.add_argument("--steps", type=int, required=True)
ap.add_argument("--depth", type=int, required=True)
ap.add_argument("--threads", type=int, required=True)
ap.add_argument("--drop-path", type=float, required=True)
ap.add_argument("--compile", action="store_true")
args = ap.parse_args()
torch.set_num_threads(args.threads or len(os.sched_getaffinity(0)))
torch.manual_seed(0)
if args.dtype == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    sys.exit("PyTorch multiplies bfloat16 at 1 GFLOP/s on a processor without AVX-512: a step would take half an hour")
WIDTH, TARGET, PATCHES, MASKED = 768, 512, 196, 75


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.beit = Beit(img_size=224, patch_size=16, embed_dim=WIDTH, depth=args.depth, num_heads=12, init_values=0.1, num_classes=0,
                         drop_path_rate=args.drop_path, use_abs_pos_emb=False, use_shared_rel_pos_bias=True)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, WIDTH), std=0.02))
        self.norm, self.head = nn.LayerNorm(WIDTH, eps=1e-6), nn.Linear(WIDTH, TARGET)

    def forward(self, x, mask):
        b = self.beit
        x = b.patch_embed(x)
        w = mask.unsqueeze(-1).to(x.dtype)
        x = x * (1 - w) + self.mask_token.to(x.dtype) * w
        x = torch.cat([b.cls_token.expand(len(x), -1, -1), x], 1)
        bias = b.rel_pos_bias()
        for block in b.blocks:
            x = block(x, shared_rel_pos_bias=bias)
        return self.head(self.norm(x)[:, 1:])


net = Student().train()
optimizer = torch.optim.AdamW(net.parameters(), lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
forward = torch.compile(net) if args.compile else net
x, target = torch.randn(args.batch, 3, 224, 224), torch.randn(args.batch, PATCHES, TARGET)
mask = torch.zeros(args.batch, PATCHES, dtype=torch.bool)
mask[:, :MASKED] = True
seconds = []
WARM_UP = 3  # a virtual machine's host may take as long to give it all of the memory
for step in range(WARM_UP + args.steps):
    started = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
        out = forward(x, mask)
    loss = (1 - F.cosine_similarity(out.float(), target, dim=-1))[mask].mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 3.0)
    optimizer.step()
    seconds.append(time.perf_counter() - started)
    print(f"torch {args.dtype} step {step}: {seconds[-1]:.2f} s, loss {loss.item():.4f}", file=sys.stderr)
print(json.dumps({"seconds": seconds[WARM_UP:], "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
                  "device": f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads"}))
