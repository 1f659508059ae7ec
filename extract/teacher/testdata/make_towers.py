#!/usr/bin/env python3
"""Make the small ONNX models of this folder, and what onnxruntime computes with them.

    python make_towers.py [FOLDER]        # default: the folder of this script

Made with: python 3.11, torch 2.15.0, transformers 5.23.0, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.

tower.onnx        Hugging Face's CLIPVisionModelWithProjection, random weights (seed 0): 32 px, patch 8, width 16, 2 layers,
                  projection 8, exported as its users export it: pixel_values -> image_embeds, last_hidden_state.
open_shapes.onnx  the same tower with every dimension symbolic and no projection, as Optimum exports it.
external.onnx     the same as tower.onnx with its weights in external.bin.
text.onnx         a text tower: input_ids -> text_embeds.
pooled.onnx       a vision tower that shows image_embeds only.
overflow.onnx     pixel_values -> last_hidden_state = 1e6 * the mean of each 8x8 patch: beyond float16 unless the patch is dark.
hidden.f32        last_hidden_state [4,17,16] of tower.onnx on pixels.u8 (4 images of 32x32x3), by Python onnxruntime.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
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


def export(model, example, path, inputs, outputs, axes):
    torch.onnx.export(Tower(model, *outputs), (example,), str(path), input_names=inputs, output_names=outputs, dynamic_axes=axes,
                      opset_version=17, dynamo=False)


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


def pixels():
    """Four images that need no decoder: smooth, with full range, no two alike."""
    y, x, c = np.meshgrid(np.arange(32), np.arange(32), np.arange(3), indexing="ij")
    return np.stack([((x * (3 + i) + y * (7 - i) + c * 40 * i + x * y // (i + 1)) % 256).astype(np.uint8) for i in range(4)])


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    image = torch.randn(2, 3, 32, 32)
    batch = {0: "batch"}
    tower = vision(CONFIG, CLIPVisionModelWithProjection)
    export(tower, image, folder / "tower.onnx", ["pixel_values"], ["image_embeds", "last_hidden_state"],
           {"pixel_values": batch, "image_embeds": batch, "last_hidden_state": batch})
    export(tower, image, folder / "pooled.onnx", ["pixel_values"], ["image_embeds"], {"pixel_values": batch, "image_embeds": batch})
    bare = vision({k: v for k, v in CONFIG.items() if k != "projection_dim"}, CLIPVisionModel)
    export(bare, image, folder / "open_shapes.onnx", ["pixel_values"], ["last_hidden_state", "pooler_output"],
           {"pixel_values": {0: "batch_size", 1: "num_channels", 2: "height", 3: "width"},
            "last_hidden_state": {0: "batch_size", 1: "sequence_length"}, "pooler_output": batch})
    text = CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                                                      max_position_embeddings=8, projection_dim=16, eos_token_id=2, attn_implementation="eager")).eval()
    export(text, torch.ones(2, 8, dtype=torch.int64), folder / "text.onnx", ["input_ids"], ["text_embeds"], {"input_ids": batch, "text_embeds": batch})
    overflow(folder / "overflow.onnx")
    model = onnx.load(str(folder / "tower.onnx"))
    (folder / "external.bin").unlink(missing_ok=True)
    onnx.save_model(model, str(folder / "external.onnx"), save_as_external_data=True, all_tensors_to_one_file=True, location="external.bin", size_threshold=256)
    (folder / "external.bin").chmod(0o644)

    rgb = pixels()
    rgb.tofile(folder / "pixels.u8")
    session = onnxruntime.InferenceSession(str(folder / "tower.onnx"), providers=["CPUExecutionProvider"])
    values = ((rgb.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    session.run(["last_hidden_state"], {"pixel_values": values})[0].astype("<f4").tofile(folder / "hidden.f32")


if __name__ == "__main__":
    main()
