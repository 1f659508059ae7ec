#!/usr/bin/env python3
"""Make the small ONNX models of this folder, and what PyTorch computes with them.

    python make_towers.py [FOLDER]        # default: the folder of this script

Made with: python 3.11, torch 2.15.0, transformers 5.23.0, onnx 1.23.2, numpy 2.4.6.

tower.onnx        Hugging Face's CLIPVisionModelWithProjection, random weights (seed 0): 32 px, patch 8, width 16, 2 layers,
                  projection 8, exported as its users export it: pixel_values -> image_embeds, last_hidden_state.
open_shapes.onnx  the same tower with every dimension symbolic and no projection, as Optimum exports it.
external.onnx     the same as tower.onnx with its weights in external.bin.
pooled.onnx       the weights of tower.onnx, of which only image_embeds is shown, in opset 13: layer norms taken apart.
openclip.onnx     a tower as OpenCLIP orders it (norm of all tokens, then the class token, projection, division by the length), with
                  a linear layer with bias for the projection, which is exported as a Gemm.
half.onnx         the weights of tower.onnx in float16, input and outputs too.
text.onnx         a text tower: input_ids -> text_embeds.
logits.onnx       a network that looks at images but has no patches: pixel_values -> logits.
overflow.onnx     pixel_values -> last_hidden_state = 1e6 * the mean of each 8x8 patch: beyond float16 unless the patch is dark.
pixels.u8         4 images of 32x32x3, normalized as CLIP's for all that follows.
*.f32             what PyTorch gives for pixels.u8: hidden, normed and projected [4,17,16 or 8] of tower.onnx's weights, openclip_*
                  of openclip.onnx's.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
CONFIG = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
              projection_dim=8, attn_implementation="eager")


class Tower(torch.nn.Module):
    def __init__(self, model, *names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs):
        output = self.model(*inputs)
        return tuple(getattr(output, name) for name in self.names)


class OpenCLIP(torch.nn.Module):
    """The order of open_clip's VisionTransformer: ln_post before the pooling, proj after it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.patch = torch.nn.Conv2d(3, 16, 8, 8, bias=False)
        self.token, self.positions = torch.nn.Parameter(torch.randn(16)), torch.nn.Parameter(torch.randn(17, 16))
        self.block = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.ln_post, self.proj = torch.nn.LayerNorm(16), torch.nn.Linear(16, 8)
        with torch.no_grad():
            self.ln_post.weight.uniform_(0.5, 2)
            self.ln_post.bias.normal_()
            self.proj.bias.normal_()

    def tokens(self, pixels):
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], 1, -1), x], 1) + self.positions
        return self.block(x)

    def forward(self, pixels):
        x = self.proj(self.ln_post(self.tokens(pixels))[:, 0])
        return x / x.norm(dim=-1, keepdim=True)


def export(model, example, path, inputs, outputs, axes, opset=17):
    torch.onnx.export(model, (example,), str(path), input_names=inputs, output_names=outputs, dynamic_axes=axes, opset_version=opset, dynamo=False)


def vision(config, kind):
    """A tower whose weights are large enough that its features differ from patch to patch."""
    torch.manual_seed(0)
    model = kind(CLIPVisionConfig(**config)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn_like(weight) * weight[0].numel() ** -0.5)
    return model


def overflow(path):
    weight = numpy_helper.from_array(np.full((4, 3, 8, 8), 1e6 / 192, np.float32), "weight")
    shape = numpy_helper.from_array(np.array([0, 4, 16], np.int64), "shape")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixel_values", "weight"], ["map"], kernel_shape=[8, 8], strides=[8, 8]),
         helper.make_node("Reshape", ["map", "shape"], ["flat"]),
         helper.make_node("Transpose", ["flat"], ["last_hidden_state"], perm=[0, 2, 1])],
        "overflow", [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", 16, 4])], [weight, shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def logits(path):
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"]), helper.make_node("Flatten", ["mean"], ["logits"])],
        "logits", [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def pixels():
    """Four images that need no decoder: smooth, with full range, no two alike."""
    y, x, c = np.meshgrid(np.arange(32), np.arange(32), np.arange(3), indexing="ij")
    return np.stack([((x * (3 + i) + y * (7 - i) + c * 40 * i + x * y // (i + 1)) % 256).astype(np.uint8) for i in range(4)])


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    image = torch.randn(2, 3, 32, 32)
    batch = {0: "batch"}
    tower = vision(CONFIG, CLIPVisionModelWithProjection)
    export(Tower(tower, "image_embeds", "last_hidden_state"), image, folder / "tower.onnx", ["pixel_values"], ["image_embeds", "last_hidden_state"],
           {"pixel_values": batch, "image_embeds": batch, "last_hidden_state": batch})
    export(Tower(tower, "image_embeds"), image, folder / "pooled.onnx", ["pixel_values"], ["image_embeds"], {"pixel_values": batch, "image_embeds": batch}, opset=13)
    bare = vision({k: v for k, v in CONFIG.items() if k != "projection_dim"}, CLIPVisionModel)
    export(Tower(bare, "last_hidden_state", "pooler_output"), image, folder / "open_shapes.onnx", ["pixel_values"], ["last_hidden_state", "pooler_output"],
           {"pixel_values": {0: "batch_size", 1: "num_channels", 2: "height", 3: "width"},
            "last_hidden_state": {0: "batch_size", 1: "sequence_length"}, "pooler_output": batch})
    text = CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                                                      max_position_embeddings=8, projection_dim=16, eos_token_id=2, attn_implementation="eager")).eval()
    export(Tower(text, "text_embeds"), torch.ones(2, 8, dtype=torch.int64), folder / "text.onnx", ["input_ids"], ["text_embeds"], {"input_ids": batch, "text_embeds": batch})
    overflow(folder / "overflow.onnx")
    logits(folder / "logits.onnx")
    model = onnx.load(str(folder / "tower.onnx"))
    (folder / "external.bin").unlink(missing_ok=True)
    onnx.save_model(model, str(folder / "external.onnx"), save_as_external_data=True, all_tensors_to_one_file=True, location="external.bin", size_threshold=256)
    (folder / "external.bin").chmod(0o644)

    openclip = OpenCLIP().eval()
    torch.backends.mha.set_fastpath_enabled(False)
    export(openclip, image, folder / "openclip.onnx", ["image"], ["features"], {"image": batch, "features": batch})

    rgb = pixels()
    rgb.tofile(folder / "pixels.u8")
    values = torch.tensor(((rgb.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))

    def save(name, tensor):
        tensor.numpy().astype("<f4").tofile(folder / f"{name}.f32")

    with torch.no_grad():
        hidden = tower(values).last_hidden_state
        normed = tower.vision_model.post_layernorm(hidden)
        save("hidden", hidden)
        save("normed", normed)
        save("projected", tower.visual_projection(normed))
        tokens = openclip.tokens(values)
        save("openclip_hidden", tokens)
        save("openclip_normed", openclip.ln_post(tokens))
        save("openclip_projected", openclip.proj(openclip.ln_post(tokens)))
    export(Tower(tower.half(), "image_embeds", "last_hidden_state"), image.half(), folder / "half.onnx", ["pixel_values"], ["image_embeds", "last_hidden_state"],
           {"pixel_values": batch, "image_embeds": batch, "last_hidden_state": batch})


if __name__ == "__main__":
    main()
