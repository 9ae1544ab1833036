"""The data types that Triton's ONNX Runtime backend serves, with their names in each library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from generator.types import TensorSpec


class Datatype(NamedTuple):
    """A data type: its number in onnx.proto's TensorProto, its names in numpy and ONNX Runtime; if torch has it."""

    onnx: int
    numpy: str
    onnxruntime: str
    torch: bool = True


# By name in config.pbtxt. Source: onnxruntime_backend, `ConvertFromOnnxDataType` (src/onnxruntime_utils.cc).
TYPES = {
    "TYPE_BOOL": Datatype(9, "bool", "tensor(bool)"),
    "TYPE_UINT8": Datatype(2, "uint8", "tensor(uint8)"),
    "TYPE_UINT16": Datatype(4, "uint16", "tensor(uint16)", torch=False),
    "TYPE_UINT32": Datatype(12, "uint32", "tensor(uint32)", torch=False),
    "TYPE_UINT64": Datatype(13, "uint64", "tensor(uint64)", torch=False),
    "TYPE_INT8": Datatype(3, "int8", "tensor(int8)"),
    "TYPE_INT16": Datatype(5, "int16", "tensor(int16)"),
    "TYPE_INT32": Datatype(6, "int32", "tensor(int32)"),
    "TYPE_INT64": Datatype(7, "int64", "tensor(int64)"),
    "TYPE_FP16": Datatype(10, "float16", "tensor(float16)"),
    "TYPE_FP32": Datatype(1, "float32", "tensor(float)"),
    "TYPE_FP64": Datatype(11, "float64", "tensor(double)"),
    "TYPE_STRING": Datatype(8, "object", "tensor(string)", torch=False),
}
OF_ONNX = {row.onnx: name for name, row in TYPES.items()}
OF_ONNXRUNTIME = {row.onnxruntime: name for name, row in TYPES.items()}


def numpy_type(datatype: str) -> type[np.generic]:
    """Return the numpy type: `TYPE_FP32` -> numpy.float32."""
    import numpy as np

    return np.dtype(TYPES[datatype].numpy).type


def wire_type(datatype: str) -> str:
    """Return the name in the inference protocol: `TYPE_FP32` -> `FP32`."""
    return "BYTES" if datatype == "TYPE_STRING" else datatype.removeprefix("TYPE_")


def zeros(inputs: Iterable[TensorSpec], rows: int) -> tuple[Tensor, ...]:
    """Return zeros of shape [rows,*dims] for each input; zero is a valid value of every type and a valid index."""
    import numpy as np
    import torch

    return tuple(torch.from_numpy(np.zeros((rows, *spec.dims), numpy_type(spec.datatype))) for spec in inputs)
