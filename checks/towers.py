#!/usr/bin/env python3
"""Check stage one against PyTorch from weights to store, for every family of teacher, with random weights of real geometry.

    python checks/towers.py [--extract bin/mvp-extract] [NAME...]

Needs what checks/requirements.txt and pipelines/clip/requirements.txt name. Small random models are saved as their libraries save
them, exported with pipelines/clip/export_clip.py, and run over two photographs by mvp-extract on onnxruntime's own kernels. The
store's features (float16) are compared patch by patch with what PyTorch computes from Pillow's pixels, preprocessed as the
model's own processor says.
"""
import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from features_onnxruntime import ROOT, cosine, rows

EXPORT = ROOT / "pipelines" / "clip" / "export_clip.py"
PHOTOS = ["rocket.jpg", "flower.jpg"]
CLIP = dict(image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])
IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
HALF = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)
SMALL = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4)


def lively(model):
    """Random weights that make features differ from patch to patch, and norms that do something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
            elif weight.ndim == 1 and weight.numel() > 1:
                weight.add_(torch.rand(weight.shape, generator=generator) - 0.5)
    return model.eval()


def before(module, run):
    """What enters a module while run() runs."""
    inputs = []
    hook = module.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    run()
    hook.remove()
    return inputs[0]


def processor(size, short=None, stretch=False, **normal):
    square = {"height": size, "width": size}
    shape = {"size": square} if stretch else {"crop_size": square, "size": {"shortest_edge": short or size}}
    return {"do_center_crop": not stretch, "resample": 3, "rescale_factor": 1 / 255, **shape, **normal}


def clip(folder, patch, size):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    model = lively(CLIPVisionModelWithProjection(CLIPVisionConfig(**SMALL, intermediate_size=128, projection_dim=32, patch_size=patch, image_size=size)))
    model.save_pretrained(folder)

    def features(pixels):
        hidden = model(pixels).last_hidden_state
        normed = model.vision_model.post_layernorm(hidden)
        return {"hidden": hidden, "normed": normed, "projected": model.visual_projection(normed)}
    return features, processor(size, **CLIP), 1


def siglip(folder, patch, size):
    from transformers import SiglipVisionConfig, SiglipVisionModel
    model = lively(SiglipVisionModel(SiglipVisionConfig(**SMALL, intermediate_size=128, patch_size=patch, image_size=size)))
    model.save_pretrained(folder)
    norm = next(m for n, m in model.named_modules() if n.endswith("post_layernorm"))
    return lambda p: {"hidden": before(norm, lambda: model(p)), "normed": model(p).last_hidden_state}, processor(size, stretch=True, **HALF), 0


def dinov2(folder, registers):
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel
    shape = dict(**SMALL, mlp_ratio=2, patch_size=14, image_size=518)
    if registers:
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**shape, num_register_tokens=registers))
    else:
        model = Dinov2Model(Dinov2Config(**shape))
    lively(model).save_pretrained(folder)
    return (lambda p: {"hidden": before(model.layernorm, lambda: model(p)), "normed": model(p).last_hidden_state}), processor(224, 256, **IMAGENET), 1 + registers


def open_clip(folder, trunk):
    import open_clip
    vision = {"image_size": 224, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16}
    if trunk:
        vision = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 4, "layers": 1}
    config = {"model_cfg": {"embed_dim": 192 if trunk else 32, "vision_cfg": vision, "text_cfg": text},
              "preprocess_cfg": {"mean": CLIP["image_mean"], "std": CLIP["image_std"], "interpolation": "bicubic", "resize_mode": "squash" if trunk else "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = lively(open_clip.create_model(f"local-dir:{folder}", load_weights=False))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    visual = model.visual
    norm = visual.trunk.norm if trunk else visual.ln_post

    def features(pixels):
        hidden = before(norm, lambda: visual(pixels))
        all = {"hidden": hidden, "normed": norm(hidden)}
        return all if trunk else {**all, "projected": norm(hidden) @ visual.proj}
    return features, processor(224, stretch=trunk, **CLIP), 1


TOWERS = {  # how to make it, how to export it, least cosine
    "clip-b32": (lambda f: clip(f, 32, 224), ["--hf"], 0.99999),
    "clip-b16": (lambda f: clip(f, 16, 224), ["--hf"], 0.99999),
    "clip-l14": (lambda f: clip(f, 14, 224), ["--hf"], 0.99999),
    "clip-l14-336": (lambda f: clip(f, 14, 336), ["--hf"], 0.99999),
    "clip-b32-half": (lambda f: clip(f, 32, 224), ["--half", "--hf"], 0.999),
    "siglip-b16": (lambda f: siglip(f, 16, 224), ["--hf"], 0.99999),
    "dinov2-14": (lambda f: dinov2(f, 0), ["--hf"], 0.99999),
    "dinov2-14-registers": (lambda f: dinov2(f, 4), ["--hf"], 0.99999),
    "open-clip-b16": (lambda f: open_clip(f, False), ["--open-clip"], 0.99999),
    "open-clip-siglip": (lambda f: open_clip(f, True), ["--open-clip"], 0.99999),
}


def pixels(path, settings):
    """One image as the processor makes it of an RGB photograph, [1, 3, size, size]."""
    image = Image.open(path).convert("RGB")
    w, h = image.size
    if "crop_size" in settings:
        size, short = settings["crop_size"]["height"], settings["size"]["shortest_edge"]
        w, h = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
        left, top = round((w - size) / 2), round((h - size) / 2)
        image = image.resize((w, h), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    else:
        image = image.resize((settings["size"]["width"], settings["size"]["height"]), Image.Resampling.BICUBIC)
    values = (np.asarray(image, np.float32) / 255 - np.float32(settings["image_mean"])) / np.float32(settings["image_std"])
    return torch.from_numpy(values.transpose(2, 0, 1)[None].copy())


def check(name, extract, work):
    make, arguments, least = TOWERS[name]
    weights, exported, images = work / "weights", work / "onnx", work / "images"
    for folder in (weights, exported, images):
        folder.mkdir(parents=True)
    features, settings, prefix = make(weights)
    (weights / "preprocessor_config.json").write_text(json.dumps(settings))
    source = f"local-dir:{weights}" if arguments[-1] == "--open-clip" else str(weights)
    subprocess.run([sys.executable, EXPORT, exported / "tower.onnx", *arguments, source], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for photo in PHOTOS:
        shutil.copy(ROOT / "testdata" / "photos" / photo, images)
    with torch.no_grad():
        want = {photo: features(pixels(images / photo, settings)) for photo in PHOTOS}
    lowest = {}
    for feature in want[PHOTOS[0]]:
        store = work / feature
        subprocess.run([extract, "--model", exported / "tower.onnx", "--images", images, "--out", store, "--provider", "cpu", "--features", feature],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = 0
        for key, _, patches, _ in rows(store):
            expected = want[key][feature][0, prefix:].numpy()
            lowest[feature] = min(lowest.get(feature, 1), float(cosine(patches.reshape(expected.shape), expected).min()))
            seen += 1
        if seen != len(PHOTOS):
            sys.exit(f"{name}: {seen} rows of {len(PHOTOS)} photographs")
    print(f"{name:20}", "  ".join(f"{feature} {value:.7f}" for feature, value in lowest.items()), flush=True)
    if min(lowest.values()) < least:
        sys.exit(f"{name}: a patch has a cosine to PyTorch's feature of less than {least}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--extract", type=Path, default=ROOT / "bin" / "mvp-extract")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TOWERS)} (default: all)")
    a = parser.parse_args()
    print("lowest cosine of a patch to PyTorch's feature")
    for name in a.names or TOWERS:
        with tempfile.TemporaryDirectory() as work:
            try:
                check(name, a.extract.resolve(), Path(work))
            except subprocess.CalledProcessError as error:
                sys.exit(f"{name}: {error}\n{error.stderr or ''}")


if __name__ == "__main__":
    main()
