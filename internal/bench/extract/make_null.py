#!/usr/bin/env python3
"""Make null.onnx: a teacher that costs next to nothing, 224 px, patch 16, 4 numbers per patch, for timing all that is not the model.

    python make_null.py [OUT]

Made with onnx 1.23.2 and numpy 2.4.6.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32) / 768, "weight")
shape = numpy_helper.from_array(np.array([0, 4, 196], np.int64), "shape")
graph = helper.make_graph(
    [helper.make_node("Conv", ["pixel_values", "weight"], ["map"], kernel_shape=[16, 16], strides=[16, 16]),
     helper.make_node("Reshape", ["map", "shape"], ["flat"]),
     helper.make_node("Transpose", ["flat"], ["last_hidden_state"], perm=[0, 2, 1])],
    "null", [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224])],
    [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", 196, 4])], [weight, shape])
out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "null.onnx"
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(out))
