"""An FP16 cast of a graph: an estimate of what TensorRT's FP16 will do to its answers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from onnx import TensorProto, numpy_helper

if TYPE_CHECKING:
    import onnx

LARGEST = torch.finfo(torch.float16).max
LARGE_ELEMENTS = 4096


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with FP16 weights and arithmetic, its inputs and outputs as they were; the model given is consumed.

    Values beyond FP16's range become its largest, as in TensorRT's conversion of weights.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # numpy rounds to FP16 element by element, torch with vector instructions. The converter knows which small
    # constants must stay FP32, such as the scales of a Resize.
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.raw_data) > 4 * LARGE_ELEMENTS:
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy()).clamp_(-LARGEST, LARGEST)
            tensor.CopyFrom(numpy_helper.from_array(values.half().numpy(), tensor.name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one a tensor with values that FP16 rounds to zero
        cast: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    return cast
