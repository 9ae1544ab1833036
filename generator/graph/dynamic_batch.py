"""A batch of fixed size made a dynamic one, where every node is known to keep the rows of a batch apart.

The proof goes node by node in graph order: a value is `batched` when its first axis is the batch and its row i depends
on row i of the inputs alone. `batch_rules` says of each operator when that passes from its inputs to its outputs; an
operator that has no rule ends the proof. Verification then compares with the file as given, row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from generator.errors import first_line
from generator.graph.rewrites.ranges import operator, size
from generator.graph.row_rules import RULES, Context

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH = "N"


def with_dynamic_batch(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str | None]:
    """The model with its first axis open, or as it was and why."""
    if model.graph.sparse_initializer:
        return model, "it has sparse constants"
    try:
        graph_model = ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    except onnx.shape_inference.InferenceError as error:
        return model, f"its shapes cannot be inferred: {first_line(error)}"
    graph = graph_model.graph
    graph.sort()  # ONNX Runtime takes nodes in any order
    context = Context(rows=fixed_rows(graph), batched=set(graph.inputs))
    if context.rows is None:
        return model, "its inputs do not begin with one and the same fixed batch"
    for node in graph:
        reason = follow(node, context)
        if reason:
            return model, reason
    left = next((value for value in graph.outputs if value not in context.batched), None)
    if left is not None:
        return model, f"its output {left.name!r} is not a row for each row of the input"
    for node in context.reshapes:
        keep_first_dimension(graph, node)
    opened((*graph.inputs, *context.batched))
    return ir.to_proto(graph_model), None


def rows_of(model: onnx.ModelProto) -> int | None:
    """The fixed first dimension that all inputs share."""
    return fixed_rows(ir.from_proto(model).graph)


def fixed_rows(graph: ir.Graph) -> int | None:
    """The same of a graph."""
    sizes = {size(value, 0) for value in graph.inputs}
    return sizes.pop() if len(sizes) == 1 else None


def follow(node: ir.Node, context: Context) -> str | None:
    """Mark the node's outputs as batched if its inputs are; why not, where they would not be."""
    if not any(value in context.batched for value in node.inputs if value is not None):
        inner = (value for graph in inner_graphs(node) for value in values_read(graph))
        return f"{named(node)} reads the batch inside a graph of its own" if context.batched & set(inner) else None
    rule = RULES.get(operator(node))
    if rule is None or not rule(node, context):
        return f"{named(node)} is not known to keep the rows of a batch apart"
    context.batched.update(node.outputs)
    if node.op_type == "Reshape":
        context.reshapes.append(node)
    return None


def named(node: ir.Node) -> str:
    """An operator and its node's name."""
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type


def inner_graphs(node: ir.Node) -> Iterable[ir.Graph]:
    """The branches of an If, the body of a Loop."""
    return (attribute.as_graph() for attribute in node.attributes.values() if attribute.type == ir.AttributeType.GRAPH)


def values_read(graph: ir.Graph) -> Iterable[ir.Value]:
    """What the nodes of a graph, and of those inside it, read."""
    for node in graph:
        yield from (value for value in node.inputs if value is not None)
        for inner in inner_graphs(node):
            yield from values_read(inner)


def keep_first_dimension(graph: ir.Graph, node: ir.Node) -> None:
    """Reshape to [0, …], which keeps the first dimension whatever it is; the rule lets no other 0 through."""
    output = node.outputs[0]
    assert output.shape is not None  # its rule looked  # noqa: S101
    dims = [0, *(dim for dim in output.shape[1:] if isinstance(dim, int))]
    shape = ir.tensor(np.array(dims, np.int64), name=f"{output.name}/{'x'.join(map(str, dims))}")
    value = ir.Value(
        name=shape.name, shape=ir.Shape([len(output.shape)]), type=ir.TensorType(shape.dtype), const_value=shape
    )
    graph.register_initializer(value)
    node.replace_input_with(1, value)
    node.attributes.pop("allowzero", None)


def opened(values: Iterable[ir.Value]) -> None:
    """Their first dimension is the batch."""
    for value in values:
        if value.shape is not None and len(value.shape):
            value.shape = ir.Shape([BATCH, *list(value.shape)[1:]])
