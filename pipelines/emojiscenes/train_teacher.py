"""Trains the small CLIP teacher on scenes and captions made on the fly.

usage: train_teacher.py BUILD OUT.pt [--steps N]

The vision tower is transformers' CLIPVisionModelWithProjection. CLIP projects
only the class token; here the same layer norm and projection also act on every
patch token, and their mean is matched with the caption too, so that the patch
features carry meaning. Captions go through one text transformer layer. A
half-weight loss predicts the caption's words from the patch mean.

Scenes come from the concepts of splits L and U; H is never seen.
"""
import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from scenes import SIZE, Bank

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
STD = (0.26862954, 0.26130258, 0.27577711)
WIDTH, BATCH, PEAK_RATE, SEED = 128, 64, 1.5e-3, 0
EVALUATION_SEED, EVALUATION_SCENES = 5, 256


def normalize(pixels):
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w]."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def vision_tower():
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=4,
        num_attention_heads=4, image_size=SIZE, patch_size=8, projection_dim=WIDTH))
    for layer in tower.modules():  # trains faster than CLIP's small initial weights
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return tower


class Text(nn.Module):
    """Bag of words with one transformer layer; 0 is padding."""

    def __init__(self, count):
        super().__init__()
        self.embed = nn.Embedding(count, WIDTH)
        nn.init.normal_(self.embed.weight, std=.05)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0., "gelu",
                                                batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, ids):
        real = (ids > 0)
        x = self.norm(self.layer(self.embed(ids), src_key_padding_mask=~real))
        weight = real[..., None].to(x.dtype)
        return self.project((x * weight).sum(1) / weight.sum(1))


class Teacher(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.tower, self.text = vision_tower(), Text(count)
        self.words = nn.Parameter(torch.randn(count, WIDTH) * .1)
        self.word_bias = nn.Parameter(torch.zeros(count))
        self.scale = nn.Parameter(torch.tensor(math.log(14.)))
        self.word_scale = nn.Parameter(torch.tensor(math.log(14.)))

    def images(self, pixels):
        """Class token's embedding and the patch tokens' mean embedding."""
        out = self.tower(pixel_values=pixels)
        inner = getattr(self.tower, "vision_model")
        patches = self.tower.visual_projection(inner.post_layernorm(out.last_hidden_state[:, 1:]))
        return out.image_embeds, patches.mean(1)

    def forward(self, pixels, ids):
        with torch.autocast("cpu", torch.bfloat16):
            token, patches = self.images(pixels)
            text = self.text(ids)
        token, patches, text = (F.normalize(v.float(), dim=-1) for v in (token, patches, text))
        right = torch.arange(len(ids))
        loss, hits = 0., []
        for weight, image in ((1., patches), (.5, token)):
            logits = self.scale.exp() * image @ text.T
            loss += weight * (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
            hits.append((logits.argmax(1) == right).float().mean())
        scores = self.word_scale.exp() * patches @ F.normalize(self.words, dim=-1).T + self.word_bias
        real = (ids > 0).float()
        word_loss = -(scores.log_softmax(-1).gather(1, ids) * real).sum() / real.sum()
        return loss + .5 * word_loss, hits


def pairs(bank, rng, count, most=2):
    pixels = np.empty((count, SIZE, SIZE, 3), np.uint8)
    captions = []
    for k in range(count):
        pixels[k], _, chosen = bank.scene(rng, "LU", most)
        captions.append(bank.caption(rng, chosen))
    return normalize(pixels), torch.tensor(captions)


def rate_at(step, steps):
    return PEAK_RATE * min(1, (step + 1) / 80) * (.5 + .5 * math.cos(math.pi * step / steps)) + 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="folder that fetch.sh filled")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=3200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    bank, rng = Bank(args.build), np.random.RandomState(11)
    model = Teacher(len(bank.vocabulary) + 1)
    named = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in named if p.ndim > 1], "weight_decay": .1},
         {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.}],
        PEAK_RATE, betas=(.9, .98), fused=True)
    held = pairs(bank, np.random.RandomState(EVALUATION_SEED), EVALUATION_SCENES)
    start = time.time()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, args.steps)
        # Single objects first: the pairing is easier to find.
        loss, _ = model(*pairs(bank, rng, BATCH, 1 if step < .15 * args.steps else 2))
        loss.backward()
        nn.utils.clip_grad_norm_(named, 1.)
        optimizer.step()
        optimizer.zero_grad()
        model.scale.data.clamp_(max=math.log(60))
        if (step + 1) % 20 == 0 or step + 1 == args.steps:
            with torch.no_grad():
                hits = model(*held)[1]
            print(f"{time.time() - start:.0f} s, step {step + 1}, loss {loss.item():.3f}, retrieval of "
                  f"{EVALUATION_SCENES}: patch mean {hits[0]:.3f}, class token {hits[1]:.3f}", flush=True)
            torch.save(model.tower.state_dict(), args.out)


if __name__ == "__main__":
    main()
