"""A graph without the weights that no simplification looks at, which would copy them a dozen times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx.helper import make_tensor_value_info

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL_BYTES = 4096
WEIGHT = 1  # of the inputs of a Conv
# What a simplifier may fold into the convolution beside it, by computing other weights (onnxsim 0.8: fuse_bn_into_conv,
# fuse_mul_into_conv, fuse_preceding_mul_into_conv, fuse_matmul_into_conv, fuse_reduce_sum_into_conv).
FOLDED = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub", "MatMul", "Gemm", "ReduceSum"})


def weightless(model: onnx.ModelProto, simplify: Callable[[onnx.ModelProto], onnx.ModelProto]) -> onnx.ModelProto:
    """Apply a function to the graph without the weights of its convolutions, which it sees as inputs.

    Args:
        model: is consumed: what is returned is made of it.
        simplify: returns another model, or its own.
    """
    heavy = weights(model)
    if not heavy:
        return simplify(model)
    graph, light = model.graph, skeleton(model)
    light.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name not in heavy)
    light.graph.input.extend(
        make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in graph.initializer
        if tensor.name in heavy
    )
    return joined(model, simplify(light), heavy)


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without constants."""
    copy = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            extend(copy, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            extend(copy.graph, field.name, value)
    return copy


def extend(message: onnx.ModelProto | onnx.GraphProto, field: str, value: object) -> None:
    """Give a protobuf message the value that another has."""
    if isinstance(value, str | bytes | int):
        setattr(message, field, value)
    elif hasattr(value, "extend"):
        getattr(message, field).extend(value)
    else:
        getattr(message, field).CopyFrom(value)


def joined(model: onnx.ModelProto, simplified: onnx.ModelProto, heavy: frozenset[str]) -> onnx.ModelProto:
    """The simplified graph with the weights, which stay where they are in memory."""
    used = {name for node in simplified.graph.node for name in node.input}
    graph, kept = model.graph, heavy & used
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in kept:
            del graph.initializer[index]
    graph.initializer.extend(simplified.graph.initializer)
    inputs = [value for value in simplified.graph.input if value.name not in heavy]
    del simplified.graph.input[:], simplified.graph.initializer[:]
    simplified.graph.input.extend(inputs)
    for field in ("node", "input", "output", "value_info", "metadata_props"):
        graph.ClearField(field)
        getattr(graph, field).extend(getattr(simplified.graph, field))
    for field in ("opset_import", "metadata_props"):
        model.ClearField(field)
        getattr(model, field).extend(getattr(simplified, field))
    model.ir_version = simplified.ir_version
    return model


def weights(model: onnx.ModelProto) -> frozenset[str]:
    """The constants that are weights of convolutions and nothing else, where nothing may be folded into those.

    None of a graph that has graphs or functions inside, whose nodes may read them too, or sparse constants.
    """
    graph = model.graph
    attributes = (entry for node in graph.node for entry in node.attribute)
    if model.functions or graph.sparse_initializer or any(entry.HasField("g") or entry.graphs for entry in attributes):
        return frozenset()
    large = {tensor.name for tensor in graph.initializer if len(tensor.raw_data) > SMALL_BYTES}
    folded = {name for node in graph.node if node.op_type in FOLDED for name in (*node.input, *node.output)}
    elsewhere = {value.name for value in (*graph.output, *graph.input)}
    found = set()
    for node in graph.node:
        for place, name in enumerate(node.input):
            if node.op_type == "Conv" and place == WEIGHT and folded.isdisjoint((node.input[0], *node.output)):
                found.add(name)
            else:
                elsewhere.add(name)
    return frozenset(large & found - elsewhere)
