"""Concat(a, Concat(b, c)) = Concat(a, b, c), where nothing but concatenations reads the inner one.

Otherwise what is concatenated again and again, as a dual path network's dense path, is copied each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.graph.rewrites.ranges import concat, operator

if TYPE_CHECKING:
    import onnx_ir as ir


def apply(graph: ir.Graph) -> int:
    """Flatten in the order of the graph, so that the inner ones are flat already; returns how many nodes."""
    return sum(flatten(graph, node) for node in list(graph) if operator(node) == "Concat")


def flatten(graph: ir.Graph, outer: ir.Node) -> int:
    """1 where an input of the node was a concatenation that is read by concatenations only."""
    inner = [inner_of(value, outer) for value in outer.inputs]
    if not any(inner) or outer.outputs[0].is_graph_output():
        return 0
    values = [
        piece
        for value, node in zip(outer.inputs, inner, strict=True)
        for piece in (node.inputs if node else (value,))
        if piece is not None
    ]
    output = outer.outputs[0]
    flat = concat(values, outer.attributes.get_int("axis", 0), output)
    made = flat.producer()
    assert made is not None  # noqa: S101
    graph.insert_before(outer, made)
    output.replace_all_uses_with(flat)
    return 1


def inner_of(value: ir.Value | None, outer: ir.Node) -> ir.Node | None:
    """The node that made an input, if it can be left out."""
    node = value.producer() if value is not None else None
    if value is None or node is None or operator(node) != "Concat" or value.is_graph_output():
        return None
    axis = outer.attributes.get_int("axis", 0)
    alike = all(
        operator(reader) == "Concat" and reader.attributes.get_int("axis", 0) == axis for reader in value.consumers()
    )
    return node if alike and node.attributes.get_int("axis", 0) == axis else None
