"""Golden values of a small student from PyTorch and timm: weights, one batch, prediction, loss, every gradient, and the losses of
ten optimizer steps. Writes golden.safetensors beside this file.

Made with torch 2.15.0, timm 1.0.31, safetensors 0.8.0, in float64 so that the file carries no rounding of its own:
    python make_golden.py
"""
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.beit import Beit

SIZE, PATCH, WIDTH, DEPTH, HEADS, K, B, MASKED = 16, 4, 24, 3, 3, 10, 2, 5
LR, DECAY, CLIP = 1e-2, 0.05, 0.3
MEAN, STD = (torch.tensor(v, dtype=torch.float64) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
KEEP = [[1.25, 0], [1.25, 1.25], [0, 1.25], [1.25, 1.25], [1.25, 0], [0, 1.25]]  # no branch dropped for both samples


class Keep(nn.Module):
    """Drop path with given factors in place of random ones."""

    def __init__(self, factors):
        super().__init__()
        self.factors = factors

    def forward(self, x):
        return x * self.factors.view(-1, 1, 1)


class Student(nn.Module):
    def __init__(self, keep):
        super().__init__()
        self.beit = Beit(img_size=SIZE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=0,
                         init_values=0.1, use_abs_pos_emb=True, use_shared_rel_pos_bias=True, use_fc_norm=False)
        for i, block in enumerate(self.beit.blocks):
            block.drop_path1, block.drop_path2 = Keep(keep[2 * i]), Keep(keep[2 * i + 1])
        self.mask_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.target_head = nn.Linear(WIDTH, K)

    def forward(self, x, mask):
        b = self.beit
        x = b.patch_embed(x)
        x = torch.where(mask[..., None], self.mask_token, x)
        x = torch.cat([b.cls_token.expand(len(x), -1, -1), x], 1) + b.pos_embed
        bias = b.rel_pos_bias()
        for block in b.blocks:
            x = block(x, shared_rel_pos_bias=bias)
        return self.target_head(b.norm(x)[:, 1:][mask])

    def named(self):
        return {n.removeprefix("beit."): p for n, p in self.named_parameters()}


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    keep = torch.tensor(KEEP)
    net = Student(keep)
    with torch.no_grad():  # every parameter away from zero, so that every gradient counts
        for p in net.parameters():
            p.copy_((p + torch.randn_like(p) * 0.2).float().double())
    pixels = torch.randint(0, 256, (B, SIZE, SIZE, 3), dtype=torch.uint8)
    patches = (SIZE // PATCH) ** 2
    mask = torch.stack([torch.randperm(patches) < MASKED for _ in range(B)])
    target = torch.randn(B * MASKED, K).half()
    x = ((pixels.double() / 255 - MEAN) / STD).permute(0, 3, 1, 2)

    def loss_of():
        pred = net(x, mask)
        return pred, (1 - F.cosine_similarity(pred, target.double(), dim=-1)).mean()

    out = {"param." + n: p.detach().clone() for n, p in net.named().items()}
    pred, loss = loss_of()
    loss.backward()
    out |= {"grad." + n: p.grad.clone() for n, p in net.named().items()}
    out |= {"pred": pred.detach(), "loss": loss.detach().reshape(1), "pixels": pixels, "mask": mask.to(torch.uint8),
            "target": target, "keep": keep, "norm": torch.stack([p.grad.norm() for p in net.parameters()]).norm().reshape(1)}

    plain = {"cls_token", "mask_token", "pos_embed", "rel_pos_bias.relative_position_bias_table"}
    groups = [[], []]
    for n, p in net.named().items():
        groups[p.ndim > 1 and n not in plain].append(p)
    opt = torch.optim.AdamW([dict(params=groups[0], weight_decay=0.0), dict(params=groups[1], weight_decay=DECAY)], LR, betas=(0.9, 0.98), eps=1e-8)
    losses = []
    for _ in range(10):
        opt.zero_grad()
        _, loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        opt.step()
        losses.append(loss.detach())
    out["losses"] = torch.stack(losses)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.safetensors")
    save_file({n: t.contiguous() for n, t in out.items()}, path)
    print(path, os.path.getsize(path), "bytes, losses", [round(float(l), 4) for l in losses])


main()
