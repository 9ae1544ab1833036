"""Concat(a, Concat(b, c)) = Concat(a, b, c), if only Concats read the inner one.

Otherwise a value that is concatenated again and again, such as a dual path network's dense path, is copied each time.
"""

import onnx_ir as ir

from generator.graph.rewrites.ranges import insert_concat, operator


def apply(graph: ir.Graph) -> int:
    """Flatten every Concat of Concats in graph order, inner ones first; return the number of replaced nodes."""
    return sum(flatten(graph, node) for node in list(graph) if operator(node) == "Concat")


def flatten(graph: ir.Graph, outer: ir.Node) -> int:
    """Replace a Concat that reads removable Concats; return 1 if it was replaced, else 0."""
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
