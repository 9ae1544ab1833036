"""Data types under the names of ONNX, numpy and config.pbtxt: one table.

The rows are those that ONNX Runtime's backend serves (onnxruntime_backend, `ConvertFromOnnxDataType`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from generator.types import TensorSpec

# config.pbtxt's word: ONNX's element type, numpy's type.
TYPES = {
    "TYPE_BOOL": (TensorProto.BOOL, np.bool_),
    "TYPE_UINT8": (TensorProto.UINT8, np.uint8),
    "TYPE_UINT16": (TensorProto.UINT16, np.uint16),
    "TYPE_UINT32": (TensorProto.UINT32, np.uint32),
    "TYPE_UINT64": (TensorProto.UINT64, np.uint64),
    "TYPE_INT8": (TensorProto.INT8, np.int8),
    "TYPE_INT16": (TensorProto.INT16, np.int16),
    "TYPE_INT32": (TensorProto.INT32, np.int32),
    "TYPE_INT64": (TensorProto.INT64, np.int64),
    "TYPE_FP16": (TensorProto.FLOAT16, np.float16),
    "TYPE_FP32": (TensorProto.FLOAT, np.float32),
    "TYPE_FP64": (TensorProto.DOUBLE, np.float64),
    "TYPE_STRING": (TensorProto.STRING, np.object_),
}
OF_ONNX: dict[int, str] = {onnx_type: name for name, (onnx_type, _) in TYPES.items()}


def numpy_type(datatype: str) -> type[np.generic]:
    """`TYPE_FP32` -> numpy.float32."""
    return TYPES[datatype][1]


def zeros(inputs: Iterable[TensorSpec], rows: int) -> tuple[Tensor, ...]:
    """[rows,*dims] an input: zero is a value of every type, and an index into every table."""
    import torch

    from generator.graph.datatypes import numpy_type

    return tuple(torch.from_numpy(np.zeros((rows, *spec.dims), numpy_type(spec.datatype))) for spec in inputs)
