"""The data types that ONNX Runtime's backend serves, under each name that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from torch import Tensor

    from generator.types import TensorSpec


class Datatype(NamedTuple):
    """A row: the number in onnx.proto's TensorProto, numpy's name, ONNX Runtime's name, and if torch has it."""

    onnx: int
    numpy: str
    onnxruntime: str
    torch: bool = True


# By config.pbtxt's name. Source: onnxruntime_backend, `ConvertFromOnnxDataType` (src/onnxruntime_utils.cc).
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
    """`TYPE_FP32` -> numpy.float32."""
    import numpy as np

    return np.dtype(TYPES[datatype].numpy).type


def wire_type(datatype: str) -> str:
    """The inference protocol's name: `TYPE_FP32` -> `FP32`."""
    return "BYTES" if datatype == "TYPE_STRING" else datatype.removeprefix("TYPE_")


def zeros(inputs: Iterable[TensorSpec], rows: int) -> tuple[Tensor, ...]:
    """[rows,*dims] an input: zero is a value of every type, and an index into every table."""
    import numpy as np
    import torch

    return tuple(torch.from_numpy(np.zeros((rows, *spec.dims), numpy_type(spec.datatype))) for spec in inputs)
