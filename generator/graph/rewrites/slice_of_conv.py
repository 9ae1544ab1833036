"""Slice(Conv(x, W, b), channels s:e) = Conv(x, W[s:e], b[s:e]).

A convolution whose output is only cut along its channels becomes one convolution a part. A dual path network does this
in every block, between its residual and its dense path; the copies cost more than the second convolution.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx_ir as ir

from generator.graph.rewrites.ranges import Part, constant_tensor, describe, operator, parts

CHANNELS = 1


def apply(graph: ir.Graph) -> int:
    """Replace the cuts of every convolution that is only cut; returns how many nodes."""
    return sum(split(graph, node) for node in list(graph) if operator(node) == "Conv")


def split(graph: ir.Graph, conv: ir.Node) -> int:
    """One convolution a part, each computing no channel that another computes."""
    output = conv.outputs[0]
    cuts = [(consumer, parts(consumer, CHANNELS)) for consumer in output.consumers()]
    if not cuts or output.is_graph_output() or not divisible(conv):
        return 0
    taken: dict[tuple[int, int], list[Part]] = {}
    for _, found in cuts:
        if found is None or any(part.value.is_graph_output() for part in found):
            return 0
        for part in found:
            taken.setdefault((part.start, part.end), []).append(part)
    bounds = sorted(taken)
    if any(end > start for (_, end), (start, _) in pairwise(bounds)):
        return 0  # overlapping parts would be computed twice
    for (start, end), same in taken.items():
        piece = piece_of(graph, conv, start, end)
        describe(piece.outputs[0], same[0].value, f"{output.name}/{start}:{end}")
        graph.insert_before(conv, piece)
        for part in same:
            part.value.replace_all_uses_with(piece.outputs[0])
    return len(cuts)


def divisible(conv: ir.Node) -> bool:
    """Whether each output channel depends on its own filter alone, and the filters are constants."""
    return conv.attributes.get_int("group", 1) == 1 and all(
        value is None or constant_tensor(value) is not None for value in conv.inputs[1:]
    )


def piece_of(graph: ir.Graph, conv: ir.Node, start: int, end: int) -> ir.Node:
    """The convolution with the filters start <= i < end."""
    constants = [rows(graph, value, start, end) if value else None for value in conv.inputs[1:]]
    return ir.Node("", "Conv", [conv.inputs[0], *constants], attributes=list(conv.attributes.values()))


def rows(graph: ir.Graph, value: ir.Value, start: int, end: int) -> ir.Value:
    """An initializer with rows of another; the same one where it has been made."""
    name = f"{value.name}/{start}:{end}"
    if name not in graph.initializers:
        assert value.const_value is not None  # `divisible` looked  # noqa: S101
        array = np.ascontiguousarray(value.const_value.numpy()[start:end])
        tensor = ir.tensor(array, name=name)
        graph.register_initializer(
            ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        )
    return graph.initializers[name]
