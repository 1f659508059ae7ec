#!/usr/bin/env python3
"""Make small ONNX towers of the families that are used as teachers, and what PyTorch computes with them.

    python make_families.py [FOLDER]      # default: the folder of this script

Made with: python 3.11, torch 2.15.0, transformers 5.23.0, open_clip_torch 3.3.0, timm 1.0.31, onnx 1.23.2, onnxscript 0.7.2.

All have random weights, 32 px, patch 8, width 16, 2 layers, and take pixels.u8 of make_towers.py, normalized as CLIP's.

siglip.onnx         Hugging Face's SiglipVisionModel: no class token, last_hidden_state is after the norm, attention pooling.
dinov2.onnx         Hugging Face's Dinov2Model: last_hidden_state is after the norm.
registers.onnx      Dinov2WithRegistersModel: 4 register tokens.
open_clip.onnx      open_clip's own VisionTransformer, of which only the embedding is shown.
open_clip_avg.onnx  the same with the mean of the patches in place of the class token, float16.
timm_siglip.onnx    SigLIP as open_clip builds it, on timm: only the embedding is shown, from attention pooling.
exported.onnx       Hugging Face's CLIPVisionModelWithProjection by PyTorch's newer exporter (torch.export), only image_embeds.
both.onnx           its weights in CLIPModel as Optimum exports it: image and text in, logits and both embeddings out.
FAMILY_FEATURE.f32  what PyTorch gives for pixels.u8 [4,T,D].
"""
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf

from make_towers import CONFIG, MEAN, STD, Tower, export, pixels

SIZES = dict(image_size=32, patch_size=8)
BATCH = {0: "batch"}


def lively(model):
    """Weights that make features differ from patch to patch, and norms that do something."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
            elif "norm" in name.lower() or "ln" in name:
                weight.copy_(torch.rand(weight.shape, generator=generator) + 0.5)
    return model.eval()


def caught(module, run):
    """What enters a module while run() runs."""
    inputs = []
    hook = module.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    run()
    hook.remove()
    return inputs[0]


def clip_model():
    text = dict(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=8, eos_token_id=2)
    vision = {k: v for k, v in CONFIG.items() if k not in ("projection_dim", "attn_implementation")}
    return lively(hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8, attn_implementation="eager")))


def open_clip_tower(**options):
    from open_clip.transformer import VisionTransformer
    return lively(VisionTransformer(image_size=32, patch_size=8, width=16, layers=2, heads=2, mlp_ratio=2, output_dim=8, **options))


def timm_siglip():
    from open_clip.timm_model import TimmModel
    model = TimmModel("vit_base_patch16_siglip_224", embed_dim=16, image_size=32, pool="map", proj="none")
    trunk = type(model.trunk)(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2, class_token=False, global_pool="map", num_classes=0)
    model.trunk = trunk
    return lively(model)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    image = torch.randn(2, 3, 32, 32)
    values = torch.tensor(((pixels().astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))
    torch.backends.mha.set_fastpath_enabled(False)

    def write(name, model, outputs, example=image, half=False):
        if half:
            model, example = model.half(), example.half()
        export(model, example, folder / f"{name}.onnx", ["pixel_values"], outputs, {n: BATCH for n in ["pixel_values", *outputs]})

    def save(name, **features):
        for feature, tensor in features.items():
            tensor.detach().numpy().astype("<f4").tofile(folder / f"{name}_{feature}.f32")

    vision = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, attn_implementation="eager", **SIZES)
    shown = ["last_hidden_state", "pooler_output"]
    siglip = lively(hf.SiglipVisionModel(hf.SiglipVisionConfig(intermediate_size=32, **vision)))
    dinov2 = lively(hf.Dinov2Model(hf.Dinov2Config(mlp_ratio=2, **vision)))
    registers = lively(hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(mlp_ratio=2, num_register_tokens=4, **vision)))
    for model in (dinov2, registers):  # whose resampling of positions does nothing at this size, and is no ONNX operator
        model.embeddings.interpolate_pos_encoding = lambda _tokens, _height, _width, e=model.embeddings: e.position_embeddings
    with torch.no_grad():
        for name, model, norm in (("siglip", siglip, "post_layernorm"), ("dinov2", dinov2, "layernorm"), ("registers", registers, "layernorm")):
            module = next(m for n, m in model.named_modules() if n.endswith(norm))
            save(name, hidden=caught(module, lambda: model(values)), normed=model(values).last_hidden_state)
            write(name, Tower(model, *shown), shown)

        for name, options in (("open_clip", {}), ("open_clip_avg", {"pool_type": "avg"})):
            model = open_clip_tower(**options)
            hidden = caught(model.ln_post, lambda: model(values))
            normed = model.ln_post(hidden)
            save(name, hidden=hidden, normed=normed, projected=normed @ model.proj)
            write(name, model, ["image_embeds"], half="avg" in name)

        model = timm_siglip()
        hidden = caught(model.trunk.norm, lambda: model(values))
        save("timm_siglip", hidden=hidden, normed=model.trunk.norm(hidden))
        write("timm_siglip", model, ["image_embeds"])

        both = clip_model()
        hidden = both.vision_model(values).last_hidden_state
        normed = both.vision_model.post_layernorm(hidden)
        save("both", hidden=hidden, normed=normed, projected=both.visual_projection(normed))
        tower = hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**CONFIG)).eval()
        tower.load_state_dict({k: v for k, v in both.state_dict().items() if k.startswith("vis")}, strict=False)
        torch.onnx.export(Tower(tower, "image_embeds"), (image,), str(folder / "exported.onnx"), input_names=["pixel_values"], output_names=["image_embeds"],
                          dynamic_shapes=(({0: torch.export.Dim("batch")},),), dynamo=True, external_data=False)
        names = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
        ids, mask = torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64)
        axes = {"input_ids": {0: "text_batch_size", 1: "sequence_length"}, "pixel_values": {0: "image_batch_size", 1: "num_channels", 2: "height", 3: "width"},
                "attention_mask": {0: "text_batch_size", 1: "sequence_length"}}

        torch.onnx.export(Tower(both, *names), (ids, image, mask), str(folder / "both.onnx"), input_names=["input_ids", "pixel_values", "attention_mask"],
                          output_names=names, dynamic_axes=axes, opset_version=17, dynamo=False)


if __name__ == "__main__":
    main()
