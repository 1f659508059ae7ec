"""Golden values of two students from PyTorch and timm: one batch, prediction, loss, every gradient, and the losses of ten optimizer
steps, in float64 so that the files carry no rounding of their own; and the same under autocast to bfloat16 on the processor, with how far
that lies from float64. Writes beside this file:

    golden.safetensors       a small model, all values in full, its weights too
    golden_b16.safetensors   two blocks of ViT-B/16 with the recipe's shape; weights, pixels and targets are functions of name and place
                             (hashed, below), and of a prediction or a gradient there is a digest

Made with torch 2.15.0, timm 1.0.31, safetensors 0.8.0, on a processor with AVX-512-BF16:
    python make_golden.py
"""
import copy
import os
import zlib
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.beit import Beit

SMALL = SimpleNamespace(size=16, patch=4, width=24, heads=3, k=10, masked=5, abs_pos=True, lr=1e-2, clip=0.3,
                        keep=[[1.25, 0], [1.25, 1.25], [0, 1.25], [1.25, 1.25], [1.25, 0], [0, 1.25]])  # no branch dropped for both samples
B16 = SimpleNamespace(size=224, patch=16, width=768, heads=12, k=512, masked=75, abs_pos=False, lr=3e-4, clip=3.0,
                      keep=[[1.25, 0], [1.25, 1.25], [0, 1.25], [1.25, 1.25]])
B, DECAY = 2, 0.05
MEAN, STD = (torch.tensor(v, dtype=torch.float64) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
PLAIN = {"cls_token", "mask_token", "pos_embed", "rel_pos_bias.relative_position_bias_table"}  # no weight decay
SAMPLES = 64


class Keep(nn.Module):
    """Drop path with given factors in place of random ones."""

    def __init__(self, factors):
        super().__init__()
        self.factors = factors

    def forward(self, x):
        return x * self.factors.view(-1, 1, 1).to(x.dtype)


class Student(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.beit = Beit(img_size=c.size, patch_size=c.patch, embed_dim=c.width, depth=len(c.keep) // 2, num_heads=c.heads, num_classes=0,
                         init_values=0.1, use_abs_pos_emb=c.abs_pos, use_shared_rel_pos_bias=True, use_fc_norm=False)
        keep = torch.tensor(c.keep)
        for i, block in enumerate(self.beit.blocks):
            block.drop_path1, block.drop_path2 = Keep(keep[2 * i]), Keep(keep[2 * i + 1])
        self.mask_token = nn.Parameter(torch.zeros(1, 1, c.width))
        self.target_head = nn.Linear(c.width, c.k)

    def forward(self, x, mask):
        b = self.beit
        x = b.patch_embed(x)
        x = torch.where(mask[..., None], self.mask_token, x)
        x = torch.cat([b.cls_token.expand(len(x), -1, -1), x], 1)
        if b.pos_embed is not None:
            x = x + b.pos_embed
        bias = b.rel_pos_bias()
        for block in b.blocks:
            x = block(x, shared_rel_pos_bias=bias)
        return self.target_head(b.norm(x)[:, 1:][mask])

    def named(self):
        return {n.removeprefix("beit."): p for n, p in self.named_parameters()}


def hashed(name, n):
    """n numbers from -1 to 1 (exclusive), multiples of 2^-23: splitmix64's output function of the name's CRC-32 and the place."""
    z = (np.arange(n, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 32)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z = (z ^ z >> np.uint64(31)) >> np.uint64(40)
    return torch.from_numpy(z.astype(np.float64) * 2.0**-23 - 1)


def digest(name, x):
    """The norm of x, the sum of its elements under the signs of hashed(name), and SAMPLES of them."""
    x = x.detach().double().flatten()
    at = ((hashed(name + " samples", SAMPLES) + 1) / 2 * len(x)).long()
    signs = torch.where(hashed(name, len(x)) < 0, -1.0, 1.0)
    return torch.cat([x.norm().reshape(1), (x * signs).sum().reshape(1), x[at]])


def train(net, dtype, c, x, mask, target):
    """What the golden files hold of one model in one precision: first gradients, then the losses of ten steps."""
    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            pred = net(x, mask)
        pred = pred.to(x.dtype)
        return pred, (1 - F.cosine_similarity(pred, target.to(x.dtype), dim=-1)).mean()

    pred, loss = step()
    loss.backward()
    out = {"grad." + n: p.grad.clone() for n, p in net.named().items()}
    out |= {"pred": pred.detach(), "loss": loss.detach().reshape(1), "norm": torch.stack([p.grad.norm() for p in net.parameters()]).norm().reshape(1)}
    groups = [[], []]
    for n, p in net.named().items():
        groups[p.ndim > 1 and n not in PLAIN].append(p)
    opt = torch.optim.AdamW([dict(params=groups[0], weight_decay=0.0), dict(params=groups[1], weight_decay=DECAY)], c.lr, betas=(0.9, 0.98), eps=1e-8)
    losses = []
    for _ in range(10):
        opt.zero_grad()
        _, loss = step()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), c.clip)
        opt.step()
        losses.append(loss.detach())
    return out | {"losses": torch.stack(losses)}


def golden(net, c, pixels, mask, target, compact):
    """The file's tensors: in float64, then under autocast as "bf16.", and as "away." the distance of the second from the first."""
    x = ((pixels.double() / 255 - MEAN) / STD).permute(0, 3, 1, 2)
    low = copy.deepcopy(net).float()
    exact, rounded = train(net, torch.float64, c, x, mask, target), train(low, torch.bfloat16, c, x.float(), mask, target)
    out = {"mask": mask.to(torch.uint8), "keep": torch.tensor(c.keep)}
    for n, v in exact.items():
        small = digest if compact and v.numel() > SAMPLES else lambda _, v: v
        out |= {n: small(n, v), "bf16." + n: small(n, rounded[n]).float(), "away." + n: ((rounded[n] - v).norm() / v.norm()).reshape(1)}
    return out


def save(name, tensors):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    save_file({n: t.contiguous() for n, t in tensors.items()}, path)
    os.chmod(path, 0o644)
    print(path, os.path.getsize(path), "bytes, losses", [round(float(l), 4) for l in tensors["losses"]])
    print("bfloat16 is away by", {n.removeprefix("away."): f"{float(v):.2g}" for n, v in tensors.items() if n.startswith("away.")})


def make_small():
    c = SMALL
    torch.manual_seed(0)
    net = Student(c)
    with torch.no_grad():  # every parameter away from zero, so that every gradient counts
        for p in net.parameters():
            p.copy_((p + torch.randn_like(p) * 0.2).float().double())
    pixels = torch.randint(0, 256, (B, c.size, c.size, 3), dtype=torch.uint8)
    mask = torch.stack([torch.randperm((c.size // c.patch) ** 2) < c.masked for _ in range(B)])
    target = torch.randn(B * c.masked, c.k).half()
    weights = {"param." + n: p.detach().clone() for n, p in net.named().items()}
    save("golden.safetensors", golden(net, c, pixels, mask, target, False) | weights | {"pixels": pixels, "target": target})


def make_b16():
    c = B16
    torch.manual_seed(0)
    net = Student(c)
    with torch.no_grad():  # matrices as wide as BEiT starts them, all others moved from where they start
        for n, p in net.named().items():
            start = 0.1 if "gamma" in n else 1 if "norm" in n and n.endswith("weight") else 0
            p.copy_((start + (0.035 if p.ndim > 1 and n not in PLAIN else 0.1) * hashed(n, p.numel()).view_as(p)).float().double())
    pixels = ((hashed("pixels", B * c.size * c.size * 3) + 1) * 128).floor().view(B, c.size, c.size, 3).to(torch.uint8)
    mask = torch.stack([torch.randperm((c.size // c.patch) ** 2) < c.masked for _ in range(B)])
    target = hashed("target", B * c.masked * c.k).view(B * c.masked, c.k).half()
    save("golden_b16.safetensors", golden(net, c, pixels, mask, target, True))


torch.set_default_dtype(torch.float64)
make_small()
make_b16()
