"""Slice(Conv(x, W, b), channels s:e) = Conv(x, W[s:e], b[s:e]).

A convolution whose output is only sliced along its channels becomes one convolution per part. A dual path network
slices like this in every block, between its residual and its dense path; the copies cost more than the second
convolution.
"""

from itertools import pairwise

import numpy as np
import onnx_ir as ir

from generator.graph.rewrites.ranges import Part, constant_tensor, describe, operator, parts

CHANNELS = 1


def apply(graph: ir.Graph) -> int:
    """Split every convolution whose output is only sliced; return the number of replaced nodes."""
    return sum(split(graph, node) for node in list(graph) if operator(node) == "Conv")


def split(graph: ir.Graph, conv: ir.Node) -> int:
    """Replace a convolution and its slices with one convolution per part; return the number of replaced nodes."""
    output = conv.outputs[0]
    slices = [parts(consumer, CHANNELS) for consumer in output.consumers()]
    constants = all(value is None or constant_tensor(value) is not None for value in conv.inputs[1:])
    if not slices or output.is_graph_output() or conv.attributes.get_int("group", 1) != 1 or not constants:
        return 0
    by_range: dict[tuple[int, int], list[Part]] = {}
    for taken in slices:
        if taken is None or any(part.value.is_graph_output() for part in taken):
            return 0
        for part in taken:
            by_range.setdefault((part.start, part.end), []).append(part)
    if any(end > start for (_, end), (start, _) in pairwise(sorted(by_range))):
        return 0  # overlapping parts would be computed twice
    for (start, end), same in by_range.items():
        filters = [slice_initializer(graph, value, start, end) if value else None for value in conv.inputs[1:]]
        piece = ir.Node("", "Conv", [conv.inputs[0], *filters], attributes=list(conv.attributes.values()))
        describe(piece.outputs[0], same[0].value, f"{output.name}/{start}:{end}")
        graph.insert_before(conv, piece)
        for part in same:
            part.value.replace_all_uses_with(piece.outputs[0])
    return len(slices)


def slice_initializer(graph: ir.Graph, value: ir.Value, start: int, end: int) -> ir.Value:
    """Return an initializer with the rows start <= i < end of another; make it once."""
    name = f"{value.name}/{start}:{end}"
    if name not in graph.initializers:
        assert value.const_value is not None  # `split` checks it  # noqa: S101
        array = np.ascontiguousarray(value.const_value.numpy()[start:end])
        tensor = ir.tensor(array, name=name)
        graph.register_initializer(
            ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        )
    return graph.initializers[name]
