#!/usr/bin/env python3
"""Check a student's weights with timm: model.safetensors loads strictly, and timm's features equal ours.

    python checks/checkpoint_timm.py RUN              the newest checkpoint of a run, built as its file says
    python checks/checkpoint_timm.py --recipe R.toml  a ViT-B/16 student of the recipe after one step, by timm.create_model

Needs torch, timm and safetensors. Our features come from internal/checks/encoder on random pixels, float32 on both sides.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
# Float32 rounds by 6e-8 at each of some 100 operations, in another order on each side.
LEAST_COSINE, LARGEST = 0.999999, 1e-3


def as_written(path):
    """The encoder that the file itself describes."""
    with safe_open(path, "pt") as f:
        model = eval(f.metadata()["timm"], {"timm": timm})  # an expression that we wrote
    model.load_state_dict(load_file(path))
    return model


def base(path):
    """ViT-B/16 as pre-trained: one table of relative positions for all blocks, a norm behind the last."""
    return timm.create_model("beit_base_patch16_224", num_classes=0, use_rel_pos_bias=False, use_shared_rel_pos_bias=True, global_pool="token",
                             checkpoint_path=str(path))


def for_finetuning(path, name="beit_base_patch16_224", **options):
    """timm's model as BEiT fine-tunes it: each block with its own copy of the table, and the norm behind the mean over the patches."""
    model, weights = timm.create_model(name, **options), load_file(path)
    table = weights.pop("rel_pos_bias.relative_position_bias_table")
    for i in range(len(model.blocks)):
        weights[f"blocks.{i}.attn.relative_position_bias_table"] = table
    weights["fc_norm.weight"], weights["fc_norm.bias"] = weights.pop("norm.weight"), weights.pop("norm.bias")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"head.weight", "head.bias"}, (missing, unexpected)
    return model


@torch.inference_mode()
def compare(name, model, pixels, want):
    got = model.eval().forward_features(((pixels.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2))
    assert got.shape == want.shape, f"{name}: {got.shape}, ours are {want.shape}"
    cosine = torch.cosine_similarity(got, want, dim=-1).min().item()
    differ = ((got - want).abs().max() / want.abs().max()).item()
    print(f"{name}: {tuple(got.shape)}, lowest cosine {cosine:.8f}, largest difference {differ:.1e} of the largest value")
    if cosine < LEAST_COSINE or differ > LARGEST:
        sys.exit(f"{name}: timm's features are not ours")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--recipe", type=Path)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = ["--recipe", a.recipe] if a.recipe else ["--checkpoint", a.run]
        subprocess.run(["go", "run", "./internal/checks/encoder", *source, "--out", folder], check=True, cwd=ROOT)
        ours = load_file(f"{folder}/features.safetensors")
        if a.recipe:
            weights = f"{folder}/model.safetensors"
            compare("timm.create_model", base(weights), ours["pixels"], ours["norm"])
            compare("for fine-tuning", for_finetuning(weights), ours["pixels"], ours["blocks"])
            return
        step = max((a.run / "checkpoints").glob("step-????????"))
        compare(step.name, as_written(step / "model.safetensors"), ours["pixels"], ours["norm"])


if __name__ == "__main__":
    main()
