"""The names and shapes of timm's ViT-B/16 BEiT as a student's encoder is one. Writes timm_beit_base.txt beside this file.

Made with torch 2.15.0 and timm 1.0.31:
    python make_timm_names.py
"""
from pathlib import Path

import timm

model = timm.create_model("beit_base_patch16_224", num_classes=0, use_rel_pos_bias=False, use_shared_rel_pos_bias=True, global_pool="token")
lines = [f"{name} {list(value.shape)}\n" for name, value in sorted(model.state_dict().items())]
Path(__file__).with_name("timm_beit_base.txt").write_text("".join(lines))
