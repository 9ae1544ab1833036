"""Simplify and serialize a graph without copying its large weights: onnxsim, then tritongen's rewrites.

onnxsim copies every weight about a dozen times, and protobuf copies them all once more to serialize a model.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import onnx
import onnxsim
from onnx.helper import make_tensor_value_info

from generator.errors import ExportFailed, first_line
from generator.graph.header import encode_varint
from generator.graph.rewrites import rewrite
from generator.graph.types import REWRITES, Exported, Simplified
from generator.system.native import silent

SMALL_BYTES = 4096
# What a simplifier may fold into the convolution beside it, by computing other weights (onnxsim 0.8: fuse_bn_into_conv,
# fuse_mul_into_conv, fuse_preceding_mul_into_conv, fuse_matmul_into_conv, fuse_reduce_sum_into_conv).
FOLDED = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub", "MatMul", "Gemm", "ReduceSum"})
# Field numbers of ModelProto.graph and GraphProto.initializer in onnx.proto, as length-delimited protobuf tags.
GRAPH, INITIALIZER = (bytes([number << 3 | 2]) for number in (7, 5))


def simplify(name: str, exported: Exported, rewrites: Iterable[str] = REWRITES) -> Simplified:
    """Fold constants, infer shapes and rewrite, or raise ExportFailed; the model of `exported` is consumed.

    onnxsim's own check, which compares ONNX with ONNX, is not needed: `verify` compares with the network.
    """
    before = len(exported.model.graph.node)
    try:
        with silent():
            model = simplify_without_weights(exported.model, lambda light: onnxsim.simplify(light)[0])
        model, applied = rewrite(model, rewrites)
    except Exception as error:
        raise ExportFailed(name, f"it cannot be simplified: {first_line(error)}") from error
    return Simplified(without_traces(model), before, len(model.graph.node), applied)


def keep_as_given(exported: Exported, why: str) -> Simplified:
    """Return the graph unsimplified, with the reason."""
    count = len(exported.model.graph.node)
    return Simplified(without_traces(exported.model), count, count, sidecars=exported.sidecars, unsimplified=why)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove documentation and metadata from a model.

    Exporters write source paths and stack traces of the building machine there, onnxsim a log of its work.
    """
    graph = model.graph
    entries: tuple[Any, ...] = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info)
    for entry in (*entries, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]
    return model


def simplify_without_weights(
    model: onnx.ModelProto, simplify: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> onnx.ModelProto:
    """Simplify a graph while inputs replace the large weights of its convolutions; the result reuses `model`."""
    detached = detachable_weights(model)
    if not detached:
        return simplify(model)
    graph, light = model.graph, without_initializers(model)
    for tensor in graph.initializer:
        if tensor.name in detached:
            light.graph.input.append(make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        else:
            light.graph.initializer.append(tensor)
    simplified = simplify(light)

    # The simplified nodes move into the first model, whose weights stay where they are in memory.
    kept = detached & {name for node in simplified.graph.node for name in node.input}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in kept:
            del graph.initializer[index]
    graph.initializer.extend(simplified.graph.initializer)
    inputs = [value for value in simplified.graph.input if value.name not in detached]
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


def without_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model without its initializers."""
    graph = {field.name: value for field, value in model.graph.ListFields() if field.name != "initializer"}
    fields = {field.name: value for field, value in model.ListFields() if field.name != "graph"}
    return onnx.ModelProto(**fields, graph=onnx.GraphProto(**graph))


def detachable_weights(model: onnx.ModelProto) -> frozenset[str]:
    """Return the large weights that only convolutions read, and that nothing may be folded into.

    The set is empty for a model with subgraphs or functions, whose nodes may read weights too, or sparse constants.
    """
    graph = model.graph
    attributes = (entry for node in graph.node for entry in node.attribute)
    if model.functions or graph.sparse_initializer or any(entry.HasField("g") or entry.graphs for entry in attributes):
        return frozenset()
    large = {tensor.name for tensor in graph.initializer if len(tensor.raw_data) > SMALL_BYTES}
    folded = {name for node in graph.node if node.op_type in FOLDED for name in (*node.input, *node.output)}
    convolved: set[str] = set()
    read_elsewhere = {value.name for value in (*graph.output, *graph.input)}
    for node in graph.node:
        inputs = list(node.input)
        if node.op_type == "Conv" and len(inputs) > 1 and folded.isdisjoint((inputs[0], *node.output)):
            convolved.add(inputs.pop(1))
        read_elsewhere.update(inputs)
    return frozenset(large & convolved - read_elsewhere)


def serialized(model: onnx.ModelProto) -> Iterator[bytes]:
    """Yield the model's file in pieces, one initializer at a time.

    The graph's initializers come last: protobuf allows the fields of a message in any order.
    """
    rest = without_initializers(model)
    graph = rest.graph.SerializeToString(deterministic=True)
    rest.ClearField("graph")
    heads = [INITIALIZER + encode_varint(tensor.ByteSize()) for tensor in model.graph.initializer]
    size = len(graph) + sum(map(len, heads)) + sum(tensor.ByteSize() for tensor in model.graph.initializer)
    yield rest.SerializeToString(deterministic=True) + GRAPH + encode_varint(size) + graph
    for head, tensor in zip(heads, model.graph.initializer, strict=True):
        yield head
        yield tensor.SerializeToString(deterministic=True)
