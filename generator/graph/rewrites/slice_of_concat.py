"""Slice(Concat(a, b, c), the indices of b and c) = Concat(b, c), or b where it is b alone.

What is cut along the seams of a concatenation was there before it, and needs no copy.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from generator.graph.rewrites.ranges import concat, operator, parts, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir


def apply(graph: ir.Graph) -> int:
    """Replace every Slice and Split whose parts begin and end on seams; returns how many."""
    return sum(follow_seams(graph, node) for node in list(graph) if operator(node) in ("Slice", "Split"))


def follow_seams(graph: ir.Graph, node: ir.Node) -> int:
    """1 where the node's outputs are made of the concatenation's inputs."""
    source = node.inputs[0]
    joined = source.producer() if source is not None else None
    if joined is None or operator(joined) != "Concat" or joined.outputs[0].shape is None:
        return 0
    axis = joined.attributes.get_int("axis", 0) % len(joined.outputs[0].shape)
    cut = parts(node, axis)
    lengths = [length for value in joined.inputs if (length := size(value, axis)) is not None]
    if cut is None or len(lengths) < len(joined.inputs) or any(part.value.is_graph_output() for part in cut):
        return 0
    seams = list(accumulate(lengths, initial=0))
    if not {seam for part in cut for seam in (part.start, part.end)} <= set(seams):
        return 0
    for part in cut:
        pieces = [
            value
            for value, (start, end) in zip(present(joined.inputs), pairwise(seams), strict=True)
            if part.start <= start and end <= part.end
        ]
        if len(pieces) == 1:
            replacement = pieces[0]
        else:
            replacement = concat(pieces, axis, part.value)
            made = replacement.producer()
            assert made is not None  # noqa: S101
            graph.insert_before(node, made)
        part.value.replace_all_uses_with(replacement)
    return 1


def present(values: Iterable[ir.Value | None]) -> list[ir.Value]:
    """A Concat leaves no input out."""
    return [value for value in values if value is not None]
