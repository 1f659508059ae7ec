#!/usr/bin/env python3
"""Make null.onnx and full.onnx, teachers of 224 px and patch 16 that compute nothing, for timing all that is not the model.

    python make_null.py [FOLDER]

null.onnx gives one pixel of each patch, so rows of 3 numbers per patch; full.onnx all of them, so rows of ViT-B/16's size, 768 numbers.
Made with onnx 1.23.2 and numpy 2.4.6.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(name, nodes, constants):
    """Write a graph from pixel_values to last_hidden_state; constants are integers by name."""
    held = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()]
    dim = 768 if name == "full" else 3
    graph = helper.make_graph(
        nodes, name, [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", 196, dim])], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / f"{name}.onnx"))


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
save("null",
     [helper.make_node("Slice", ["pixel_values", "from", "to", "axes", "steps"], ["map"]),
      helper.make_node("Reshape", ["map", "shape"], ["flat"]),
      helper.make_node("Transpose", ["flat"], ["last_hidden_state"], perm=[0, 2, 1])],
     {"from": [0, 0], "to": [224, 224], "axes": [2, 3], "steps": [16, 16], "shape": [0, 3, 196]})
save("full",
     [helper.make_node("Reshape", ["pixel_values", "cut"], ["pieces"]),
      helper.make_node("Transpose", ["pieces"], ["patches"], perm=[0, 2, 4, 1, 3, 5]),
      helper.make_node("Reshape", ["patches", "shape"], ["last_hidden_state"])],
     {"cut": [0, 3, 14, 16, 14, 16], "shape": [0, 196, 768]})
