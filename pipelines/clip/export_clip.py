#!/usr/bin/env python3
"""Export a vision tower to ONNX, as mvp-extract takes it: pixel_values -> last_hidden_state and the pooled embedding.

    python export_clip.py OUT.onnx                                        # openai/clip-vit-base-patch16 from the Hugging Face hub
    python export_clip.py OUT.onnx --hf FOLDER_OR_NAME                    # a CLIP, SigLIP or DINOv2 of transformers
    python export_clip.py OUT.onnx --open-clip ViT-B-16 --pretrained TAG  # OpenCLIP's weights, or a file of them
    python export_clip.py OUT.onnx --open-clip local-dir:FOLDER           # a folder with open_clip_config.json and weights
    python export_clip.py OUT.onnx --random                               # CLIP ViT-B/16 with random weights: for benchmarks

Needs torch, onnx and transformers (or open_clip_torch). A preprocessor_config.json is written beside OUT. With onnxruntime
installed, the exported model is compared with PyTorch before the script ends. It is float32, with --half float16, and the number
of images per call is free. Weights of more than 2 GB are not exported: protobuf cannot hold them.
"""
import argparse
import json
import sys
from pathlib import Path

import torch

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MAX_BYTES = 2**31


class HuggingFace(torch.nn.Module):
    """A vision model of transformers: its outputs by name."""

    def __init__(self, model, outputs):
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, pixel_values):
        output = self.model(pixel_values=pixel_values)
        return tuple(getattr(output, name) for name in self.outputs)


class OpenCLIP(torch.nn.Module):
    """The visual half of an OpenCLIP model: the embedding. What comes before it mvp-extract finds in the graph."""

    outputs = ["image_embeds"]

    def __init__(self, visual):
        super().__init__()
        self.visual = visual

    def forward(self, pixel_values):
        embeds = self.visual(pixel_values)
        return (embeds[0] if isinstance(embeds, tuple) else embeds,)


def settings_of(size, mean=CLIP_MEAN, std=CLIP_STD, stretch=False, resample=3):
    """A preprocessor_config.json: the short side to size, then the middle; or the whole image stretched."""
    square = {"height": size, "width": size}
    settings = {"do_center_crop": not stretch, "do_normalize": True, "do_resize": True, "image_mean": list(mean), "image_std": list(std),
                "resample": resample, "rescale_factor": 1 / 255, "size": square if stretch else {"shortest_edge": size}}
    return settings if stretch else {**settings, "crop_size": square}


def side_of(settings):
    """The side of the input that settings lead to."""
    size = settings.get("crop_size") or settings["size"]
    return size if isinstance(size, int) else size.get("height") or size["shortest_edge"]


def random_clip():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    torch.manual_seed(0)
    config = CLIPVisionConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224,
                              patch_size=16, projection_dim=512, attn_implementation="eager")
    return HuggingFace(CLIPVisionModelWithProjection(config), ["image_embeds", "last_hidden_state"]), settings_of(224)


def load_hugging_face(name):
    """The vision half of a model of transformers, and its processor's settings."""
    import transformers as hf
    kind = hf.AutoConfig.from_pretrained(name).model_type
    classes = {"clip": (hf.CLIPVisionModelWithProjection, "image_embeds"), "clip_vision_model": (hf.CLIPVisionModelWithProjection, "image_embeds"),
               "siglip": (hf.SiglipVisionModel, "pooler_output"), "siglip_vision_model": (hf.SiglipVisionModel, "pooler_output"),
               "dinov2": (hf.Dinov2Model, "pooler_output"), "dinov2_with_registers": (hf.Dinov2WithRegistersModel, "pooler_output")}
    if kind not in classes:
        sys.exit(f"{name} is a {kind}; this script exports {', '.join(classes)}")
    of, pooled = classes[kind]
    model = of.from_pretrained(name, attn_implementation="eager", dtype=torch.float32)
    settings, _ = hf.image_processing_base.ImageProcessingMixin.get_image_processor_dict(name)
    if kind.startswith("dinov2"):
        fix_positions(model.embeddings, side_of(settings))
    return HuggingFace(model, ["last_hidden_state", pooled]), settings


def fix_positions(embeddings, size):
    """DINOv2 is trained at 518 pixels and used at 224: its positions are resampled once, here, since no ONNX operator does it alike."""
    patch = embeddings.config.patch_size
    tokens = torch.zeros(1, (size // patch) ** 2 + 1, embeddings.config.hidden_size)
    with torch.no_grad():
        positions = embeddings.interpolate_pos_encoding(tokens, size, size)
    embeddings.interpolate_pos_encoding = lambda _tokens, _height, _width: positions


def load_open_clip(name, pretrained):
    import open_clip
    model = open_clip.create_model(name, pretrained=pretrained, precision="fp32")
    visual = model.visual
    size = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
    config = getattr(visual, "preprocess_cfg", {})
    resample = {"bicubic": 3, "bilinear": 2}.get(config.get("interpolation", "bicubic"), 3)
    return OpenCLIP(visual), settings_of(size, config.get("mean") or CLIP_MEAN, config.get("std") or CLIP_STD, config.get("resize_mode") == "squash", resample)


def check(path, model, size, least):
    """Compare the file with PyTorch on two random images."""
    try:
        import onnxruntime
    except ImportError:
        print("onnxruntime is not installed: the file was not compared with PyTorch", file=sys.stderr)
        return
    kind = next(model.parameters()).dtype
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).to(kind)
    with torch.no_grad():
        want = model(pixels)
    options = onnxruntime.SessionOptions()
    if kind == torch.float16:  # at the highest level onnxruntime 1.24 and 1.32 crash on some float16 graphs
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    got = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(model.outputs, {"pixel_values": pixels.numpy()})
    for name, a, b in zip(model.outputs, got, want):
        cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(a).float(), b.float(), dim=-1).min().item()
        print(f"{name} {tuple(a.shape)}: lowest cosine to PyTorch {cosine:.7f}")
        if cosine < least:
            sys.exit(f"{path} does not compute what PyTorch does")


def main():
    parser = argparse.ArgumentParser(description="Export a vision tower to ONNX.")
    parser.add_argument("out", type=Path, metavar="OUT.onnx")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--hf", default="openai/clip-vit-base-patch16", metavar="NAME", help="name or folder of a CLIP, SigLIP or DINOv2 of transformers")
    source.add_argument("--open-clip", metavar="NAME", help="architecture of OpenCLIP, such as ViT-B-16, or local-dir:FOLDER")
    source.add_argument("--random", action="store_true", help="CLIP ViT-B/16 with random weights, seed 0")
    parser.add_argument("--pretrained", metavar="TAG", help="OpenCLIP's name of the weights, or a file")
    parser.add_argument("--half", action="store_true", help="weights, input and outputs in float16")
    a = parser.parse_args()
    if bool(a.open_clip and not a.open_clip.startswith("local-dir:")) != bool(a.pretrained):
        parser.error("--open-clip NAME and --pretrained go together")
    model, settings = load_open_clip(a.open_clip, a.pretrained) if a.open_clip else random_clip() if a.random else load_hugging_face(a.hf)
    model.eval()
    size = side_of(settings)
    if 4 * sum(p.numel() for p in model.parameters()) > MAX_BYTES:
        sys.exit("the tower has more than 2 GB of weights: too large for one ONNX file")
    a.out.parent.mkdir(parents=True, exist_ok=True)
    example = torch.randn(1, 3, size, size)
    if a.half:
        model, example = model.half(), example.half()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that ONNX does not have
    torch.onnx.export(model, (example,), str(a.out), input_names=["pixel_values"], output_names=model.outputs,
                      dynamic_axes={name: {0: "batch"} for name in ["pixel_values", *model.outputs]}, opset_version=17, dynamo=False)
    (a.out.parent / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    check(a.out, model, size, 0.999 if a.half else 0.99999)
    print(f"{a.out}: {a.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
