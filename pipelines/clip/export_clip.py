#!/usr/bin/env python3
"""Export a CLIP vision tower to ONNX, as mvp-extract takes it: pixel_values -> image_embeds, last_hidden_state.

    python export_clip.py OUT.onnx                                        # openai/clip-vit-base-patch16 from the Hugging Face hub
    python export_clip.py OUT.onnx --hf FOLDER_OR_NAME                    # any CLIP of transformers
    python export_clip.py OUT.onnx --open-clip ViT-B-16 --pretrained TAG  # OpenCLIP's weights, or a file of them
    python export_clip.py OUT.onnx --random                               # CLIP ViT-B/16 with random weights: for benchmarks

Needs torch, onnx and transformers (or open_clip_torch). A preprocessor_config.json with mean and std is written beside OUT.
With onnxruntime installed, the exported model is compared with PyTorch before the script ends. It is float32 and the number of
images per call is free. Weights of more than 2 GB are not exported: protobuf cannot hold them.
"""
import argparse
import json
import sys
from pathlib import Path

import torch

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OUTPUTS = ["image_embeds", "last_hidden_state"]
MAX_BYTES = 2**31


class HuggingFace(torch.nn.Module):
    """transformers' CLIPVisionModelWithProjection."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        output = self.model(pixel_values=pixel_values)
        return output.image_embeds, output.last_hidden_state


class OpenCLIP(torch.nn.Module):
    """The visual half of an OpenCLIP model. What enters its last norm is caught on the way."""

    def __init__(self, visual):
        super().__init__()
        self.visual, self.hidden = visual, None
        visual.transformer.register_forward_hook(lambda _module, _inputs, output: setattr(self, "hidden", output))

    def forward(self, pixel_values):
        embeds = self.visual(pixel_values)
        return (embeds[0] if isinstance(embeds, tuple) else embeds), self.hidden


def load_hugging_face(name, random):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    if random:
        torch.manual_seed(0)
        config = CLIPVisionConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224,
                                  patch_size=16, projection_dim=512, attn_implementation="eager")
        return HuggingFace(CLIPVisionModelWithProjection(config)), 224, CLIP_MEAN, CLIP_STD
    model = CLIPVisionModelWithProjection.from_pretrained(name, attn_implementation="eager", dtype=torch.float32)
    mean, std = CLIP_MEAN, CLIP_STD
    try:
        from transformers import AutoImageProcessor
        processor = AutoImageProcessor.from_pretrained(name)
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    except (OSError, ImportError) as error:
        print(f"no image processor for {name} ({error}); taking CLIP's mean and std", file=sys.stderr)
    return HuggingFace(model), model.config.image_size, mean, std


def load_open_clip(name, pretrained):
    import open_clip
    model = open_clip.create_model(name, pretrained=pretrained, precision="fp32")
    visual = model.visual
    if not hasattr(visual, "transformer"):
        sys.exit(f"{name}: its image tower is no vision transformer")
    size = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
    return OpenCLIP(visual), size, tuple(visual.image_mean or CLIP_MEAN), tuple(visual.image_std or CLIP_STD)


def check(path, model, size):
    """Compare the file with PyTorch on two random images; the error of the largest value."""
    try:
        import onnxruntime
    except ImportError:
        print("onnxruntime is not installed: the file was not compared with PyTorch", file=sys.stderr)
        return
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = model(pixels)
    got = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(OUTPUTS, {"pixel_values": pixels.numpy()})
    for name, a, b in zip(OUTPUTS, got, want):
        cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(a), b, dim=-1).min().item()
        print(f"{name} {tuple(a.shape)}: lowest cosine to PyTorch {cosine:.7f}")
        if cosine < 0.99999:
            sys.exit(f"{path} does not compute what PyTorch does")


def main():
    parser = argparse.ArgumentParser(description="Export a CLIP vision tower to ONNX.")
    parser.add_argument("out", type=Path, metavar="OUT.onnx")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--hf", default="openai/clip-vit-base-patch16", metavar="NAME", help="name or folder of a transformers CLIP")
    source.add_argument("--open-clip", metavar="NAME", help="architecture of OpenCLIP, such as ViT-B-16")
    source.add_argument("--random", action="store_true", help="ViT-B/16 with random weights, seed 0")
    parser.add_argument("--pretrained", metavar="TAG", help="OpenCLIP's name of the weights, or a file")
    a = parser.parse_args()
    if bool(a.open_clip) != bool(a.pretrained):
        parser.error("--open-clip and --pretrained go together")
    model, size, mean, std = load_open_clip(a.open_clip, a.pretrained) if a.open_clip else load_hugging_face(a.hf, a.random)
    model.eval()
    if 4 * sum(p.numel() for p in model.parameters()) > MAX_BYTES:
        sys.exit("the tower has more than 2 GB of weights: too large for one ONNX file")
    a.out.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(model, (torch.randn(1, 3, size, size),), str(a.out), input_names=["pixel_values"], output_names=OUTPUTS,
                      dynamic_axes={name: {0: "batch"} for name in ["pixel_values", *OUTPUTS]}, opset_version=17, dynamo=False)
    settings = {"crop_size": {"height": size, "width": size}, "do_center_crop": True, "do_normalize": True, "do_resize": True,
                "image_mean": mean, "image_std": std, "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": size}}
    (a.out.parent / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    check(a.out, model, size)
    print(f"{a.out}: {a.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
