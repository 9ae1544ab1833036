"""Rewrite an ONNX graph after onnxsim; the docstring of each rewrite starts with its equation.

A rewrite is kept if `make bench` shows it faster on some network and slower on none beyond the noise. Verification
runs after the rewrites and compares with the network itself, so a wrong rewrite is not published.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from generator.graph.ranges import Part, constant_tensor, operator, parts, size
from generator.graph.types import REWRITES

CHANNELS = 1


def rewrite(model: onnx.ModelProto, names: Iterable[str]) -> tuple[onnx.ModelProto, dict[str, int]]:
    """Apply the named rewrites; return the model and the number of nodes that each replaced.

    Shapes must have been inferred: a rewrite skips nodes whose shapes are unknown.
    """
    chosen = set(names)
    if model.graph.sparse_initializer:
        return model, {}  # onnx-ir would lose them
    graph_model = ir.from_proto(model)
    graph, counts = graph_model.graph, {}
    for name, (operators, function) in zip(REWRITES, FUNCTIONS, strict=True):
        if name in chosen:
            counts[name] = sum(function(graph, node) for node in list(graph) if operator(node) in operators)
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return model, counts
    RemoveUnusedNodesPass()(graph_model)
    return ir.to_proto(graph_model), counts


def slice_filters(graph: ir.Graph, conv: ir.Node) -> int:
    """Slice(Conv(x, W, b), channels s:e) = Conv(x, W[s:e], b[s:e]).

    A convolution whose output is only sliced along its channels becomes one convolution per part. A dual path network
    slices like this in every block, between its residual and its dense path; the copies cost more than the second
    convolution.
    """
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
        piece = value_like(same[0].value, f"{output.name}/{start}:{end}")
        inputs, attributes = [conv.inputs[0], *filters], list(conv.attributes.values())
        graph.insert_before(conv, ir.Node("", "Conv", inputs, attributes, outputs=[piece], name=piece.name))
        for part in same:
            part.value.replace_all_uses_with(piece)
    return len(slices)


def slice_initializer(graph: ir.Graph, value: ir.Value, start: int, end: int) -> ir.Value:
    """Return an initializer with the rows start <= i < end of another; make it once."""
    name = f"{value.name}/{start}:{end}"
    if name not in graph.initializers:
        assert value.const_value is not None  # `slice_filters` checks it  # noqa: S101
        array = np.ascontiguousarray(value.const_value.numpy()[start:end])
        graph.register_initializer(ir.val(name, const_value=ir.tensor(array, name=name)))
    return graph.initializers[name]


def take_inputs(graph: ir.Graph, node: ir.Node) -> int:
    """Slice(Concat(a, b, c), the indices of b and c) = Concat(b, c), or b if the indices are those of b alone.

    A part that begins and ends where inputs of the Concat do is available before the Concat, and needs no copy.
    """
    source = node.inputs[0]
    joined = source.producer() if source is not None else None
    if joined is None or operator(joined) != "Concat" or joined.outputs[0].shape is None:
        return 0
    axis = joined.attributes.get_int("axis", 0) % len(joined.outputs[0].shape)
    taken = parts(node, axis)
    values = [value for value in joined.inputs if value is not None]
    lengths = [length for value in values if (length := size(value, axis)) is not None]
    if taken is None or len(lengths) < len(joined.inputs) or any(part.value.is_graph_output() for part in taken):
        return 0
    seams = list(accumulate(lengths, initial=0))
    if not {seam for part in taken for seam in (part.start, part.end)} <= set(seams):
        return 0
    for part in taken:
        pieces = [
            value
            for value, (start, end) in zip(values, pairwise(seams), strict=True)
            if part.start <= start and end <= part.end
        ]
        whole = pieces[0] if len(pieces) == 1 else insert_concat(graph, node, pieces, axis, part.value)
        part.value.replace_all_uses_with(whole)
    return 1


def flatten(graph: ir.Graph, outer: ir.Node) -> int:
    """Concat(a, Concat(b, c)) = Concat(a, b, c), if only Concats read the inner one.

    Otherwise a value that is concatenated again and again, such as a DPN's dense path, is copied each time.
    """
    inner = [removable_concat(value, outer) for value in outer.inputs]
    output = outer.outputs[0]
    if not any(inner) or output.is_graph_output():
        return 0
    values = [
        piece
        for value, node in zip(outer.inputs, inner, strict=True)
        for piece in (node.inputs if node else (value,))
        if piece is not None
    ]
    output.replace_all_uses_with(insert_concat(graph, outer, values, outer.attributes.get_int("axis", 0), output))
    return 1


def removable_concat(value: ir.Value | None, outer: ir.Node) -> ir.Node | None:
    """Return the Concat that computes an input, if all its readers are Concats along the same axis."""
    node = value.producer() if value is not None else None
    if value is None or node is None or value.is_graph_output():
        return None
    axis = outer.attributes.get_int("axis", 0)
    same = all(
        operator(each) == "Concat" and each.attributes.get_int("axis", 0) == axis for each in (node, *value.consumers())
    )
    return node if same else None


def insert_concat(graph: ir.Graph, before: ir.Node, values: Sequence[ir.Value], axis: int, like: ir.Value) -> ir.Value:
    """Insert a Concat that computes `like`; return its output."""
    whole = value_like(like, f"{like.name}/concat")
    attributes = [ir.AttrInt64("axis", axis)]
    graph.insert_before(before, ir.Node("", "Concat", values, attributes, outputs=[whole], name=whole.name))
    return whole


def value_like(value: ir.Value, name: str) -> ir.Value:
    """Return a new value with the type and shape of another."""
    return ir.Value(name=name, shape=value.shape, type=value.type)


# For each of REWRITES the operators that it looks at, in graph order, and a function that rewrites around a node and
# returns the number of replaced nodes. Each makes room for the next.
FUNCTIONS = (
    (("Conv",), slice_filters),
    (("Slice", "Split"), take_inputs),
    (("Concat",), flatten),
)
