"""Read the inputs and outputs of an ONNX graph as a server will offer them."""

from dataclasses import replace

import onnx

from generator.errors import NotServable
from generator.graph.datatypes import OF_ONNX
from generator.types import OPEN, Signature, TensorSpec


def signature(name: str, model: onnx.ModelProto, unbatched: str | None = None) -> Signature:
    """Return the inputs and outputs of a graph.

    A first dimension that is open in all of them is the batch, unless `unbatched` says why it is none.

    Raises:
        NotServable: a tensor has a type that Triton's ONNX Runtime backend does not serve.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(tensor(name, value, "input") for value in model.graph.input if value.name not in constants)
    outputs = tuple(tensor(name, value, "output") for value in model.graph.output)
    if not inputs or not outputs:
        raise NotServable(name, f"it has no {'outputs' if inputs else 'inputs'}")
    fixed = next((spec for spec in (*inputs, *outputs) if spec.dims[:1] != (OPEN,)), None)
    if fixed is not None:
        unbatched = f"{fixed.name!r} has no batch dimension: its shape is {fixed.shape}"
    if unbatched is not None:
        return Signature(inputs, outputs, unbatched)
    return Signature(
        tuple(replace(spec, dims=spec.dims[1:]) for spec in inputs),
        tuple(replace(spec, dims=spec.dims[1:]) for spec in outputs),
    )


def tensor(name: str, value: onnx.ValueInfoProto, kind: str) -> TensorSpec:
    """Return one input or output with all its dimensions."""
    kind_of_value = value.type.WhichOneof("value")
    if kind_of_value != "tensor_type":
        what = kind_of_value.removesuffix("_type") if kind_of_value else "value of no type"
        raise NotServable(
            name,
            f"its {kind} {value.name!r} is a {what}, and Triton's ONNX Runtime backend serves tensors only",
            "export it without that output; sklearn-onnx does with options={'zipmap': False}",
        )
    declared = value.type.tensor_type
    datatype = OF_ONNX.get(declared.elem_type)
    if datatype is None:
        why = f"its {kind} {value.name!r} has a type that Triton's ONNX Runtime backend does not serve"
        raise NotServable(name, why)
    if kind == "input" and not declared.HasField("shape"):
        raise NotServable(name, f"its input {value.name!r} is of any number of dimensions", "export it with a shape")
    dims = (dim.dim_value if dim.dim_value > 0 else OPEN for dim in declared.shape.dim)
    return TensorSpec(value.name, datatype, tuple(dims))
