"""Slice(Concat(a, b, c), the indices of b and c) = Concat(b, c), or b if the indices are those of b alone.

A part that begins and ends where inputs of the Concat do is available before the Concat, and needs no copy.
"""

from itertools import accumulate, pairwise

import onnx_ir as ir

from generator.graph.rewrites.ranges import insert_concat, operator, parts, size


def apply(graph: ir.Graph) -> int:
    """Replace every Slice and Split whose parts are whole inputs of a Concat; return the number of replaced nodes."""
    return sum(take_inputs(graph, node) for node in list(graph) if operator(node) in ("Slice", "Split"))


def take_inputs(graph: ir.Graph, node: ir.Node) -> int:
    """Replace the outputs of a Slice or Split with inputs of its Concat; return 1 if replaced, else 0."""
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
