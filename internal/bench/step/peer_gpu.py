#!/usr/bin/env python3
"""The same training step in PyTorch, for comparison on the same GPU: a BEiT-style ViT with a shared relative position bias, layer scale,
drop path, cosine loss on 75 masked patches, bf16 autocast, fused AdamW. Prints one JSON line as bench-step does.

    python3 peer_gpu.py [--batch 256] [--steps 20] [--compile] [--device cuda] [--depth 12] [--width 768] [--size 224] [--drop-path 0.1]
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width, heads, drop):
        super().__init__()
        self.heads, self.drop = heads, drop
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma1, self.gamma2 = nn.Parameter(0.1 * torch.ones(width)), nn.Parameter(0.1 * torch.ones(width))

    def kept(self, branch):
        if self.drop == 0:
            return branch
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(1 - self.drop).div_(1 - self.drop)

    def forward(self, x, bias):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = x + self.kept(self.gamma1 * self.proj(a.transpose(1, 2).reshape(b, n, d)))
        return x + self.kept(self.gamma2 * self.fc2(functional.gelu(self.fc1(self.norm2(x)))))


class Student(nn.Module):
    def __init__(self, size, width, depth, drop, target=512):
        super().__init__()
        grid, heads = size // 16, width // 64
        self.patches = grid * grid
        self.embed = nn.Conv2d(3, width, 16, 16)
        self.cls, self.mask = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, 1, width))
        self.table = nn.Parameter(torch.zeros((2 * grid - 1) ** 2 + 3, heads))
        n = self.patches + 1
        self.register_buffer("index", torch.randint(0, len(self.table), (n, n)))
        self.blocks = nn.ModuleList(Block(width, heads, drop * i / max(depth - 1, 1)) for i in range(depth))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, target)

    def forward(self, pixels, mask, rows):
        x = self.embed(pixels).flatten(2).transpose(1, 2)
        x = torch.where(mask[..., None], self.mask.to(x.dtype), x)
        x = torch.cat([self.cls.expand(len(x), -1, -1).to(x.dtype), x], 1).float()
        bias = self.table[self.index].permute(2, 0, 1)[None]
        for block in self.blocks:
            x = block(x, bias)
        return self.head(self.norm(x[:, 1:].flatten(0, 1)[rows]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--drop-path", type=float, default=0.1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(1)
    device = torch.device(options.device)
    model = Student(options.size, options.width, options.depth, options.drop_path).to(device)
    forward = torch.compile(model) if options.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    masked = min(75, model.patches // 2)
    mask = torch.zeros(options.batch, model.patches, dtype=torch.bool, device=device)
    for row in mask:
        row[torch.randperm(model.patches)[:masked]] = True
    rows = mask.flatten().nonzero().flatten()
    pixels = torch.randn(options.batch, 3, options.size, options.size, device=device)
    target = torch.randn(len(rows), 512, device=device)
    took = []
    for step in range(options.steps + 5):
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            prediction = forward(pixels, mask, rows)
        loss = (1 - functional.cosine_similarity(prediction.float(), target, dim=-1)).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if step >= 5:
            took.append(time.perf_counter() - start)
    median = statistics.median(took)
    print(json.dumps({"program": "PyTorch " + torch.__version__ + (" compiled" if options.compile else ""), "device": options.device,
                      "dtype": "bf16", "batch": options.batch, "depth": options.depth, "seconds": round(median, 4),
                      "images_per_s": round(options.batch / median, 1)}))


if __name__ == "__main__":
    main()
