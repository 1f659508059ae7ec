"""Exports the teacher as CLIP vision towers are exported, and checks the file.

usage: export_onnx.py WEIGHTS.pt OUT

Writes OUT/teacher.onnx (pixel_values [batch, 3, 64, 64] -> last_hidden_state
[batch, 65, 128] before the last layer norm, image_embeds [batch, 128]) and
OUT/preprocessor_config.json.
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from scenes import SIZE
from train_teacher import MEAN, STD, vision_tower

OPSET, TOLERANCE = 17, 1e-4


class Outputs(nn.Module):
    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, pixel_values):
        out = self.tower(pixel_values=pixel_values)
        return out.last_hidden_state, out.image_embeds


def main():
    weights, folder = sys.argv[1], Path(sys.argv[2])
    tower = vision_tower().eval()
    tower.load_state_dict(torch.load(weights, weights_only=True))
    tower.set_attn_implementation("eager")
    model, sample = Outputs(tower).eval(), torch.randn(2, 3, SIZE, SIZE)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "teacher.onnx"
    names = ["pixel_values", "last_hidden_state", "image_embeds"]
    torch.onnx.export(model, (sample,), str(path), input_names=names[:1], output_names=names[1:],
                      dynamic_axes={n: {0: "batch"} for n in names},
                      opset_version=OPSET, dynamo=False)
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": SIZE}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": SIZE, "width": SIZE},
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": MEAN, "image_std": STD}, indent=2) + "\n")

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    other = torch.randn(5, 3, SIZE, SIZE)  # another batch size than the export's
    with torch.no_grad():
        expected = model(other)
    for name, want, got in zip(names[1:], expected, session.run(names[1:], {names[0]: other.numpy()})):
        worst = np.abs(want.numpy() - got).max()
        if worst > TOLERANCE:
            sys.exit(f"{path}: {name} differs from PyTorch by {worst:g}")
        print(f"{name} {list(got.shape)} equals PyTorch within {worst:.1g}")
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
