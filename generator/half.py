"""An FP16 cast of a graph: an estimate of what TensorRT's FP16 will do to its answers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with FP16 weights and arithmetic, its inputs and outputs as they were.

    Values beyond FP16's range become its largest, as in TensorRT's conversion of weights.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one a tensor with values that FP16 rounds to zero
        cast: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    return cast
