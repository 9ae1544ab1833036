"""Turn a fixed batch into a dynamic one, if every node is proven to keep the rows of a batch independent.

The proof goes node by node in graph order: a value is `batched` if its first axis is the batch and its row i depends
on row i of the inputs only. `row_rules` has a rule for each operator: when its outputs are batched too. An operator
without a rule ends the proof. Verification then compares with the given file, row by row.
"""

import numpy as np
import onnx
import onnx_ir as ir

from generator.errors import first_line
from generator.graph.ranges import operator, size
from generator.graph.row_rules import RULES, Context

BATCH = "N"


def with_dynamic_batch(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str | None]:
    """Return the model with a dynamic first axis, or the unchanged model with the reason."""
    if model.graph.sparse_initializer:
        return model, "it has sparse constants"
    try:
        graph_model = ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    except onnx.shape_inference.InferenceError as error:
        return model, f"its shapes cannot be inferred: {first_line(error)}"
    graph = graph_model.graph
    graph.sort()  # ONNX Runtime takes nodes in any order
    context = Context(rows=fixed_batch(graph), batched=set(graph.inputs))
    if context.rows is None:
        return model, "its inputs do not begin with one and the same fixed batch"
    for node in graph:
        reason = mark_outputs(node, context)
        if reason:
            return model, reason
    unbatched = next((value for value in graph.outputs if value not in context.batched), None)
    if unbatched is not None:
        return model, f"its output {unbatched.name!r} is not a row for each row of the input"
    for node in context.reshapes:
        keep_first_dimension(graph, node)
    for value in (*graph.inputs, *context.batched):
        if value.shape is not None and len(value.shape):
            value.shape = ir.Shape([BATCH, *list(value.shape)[1:]])
    return ir.to_proto(graph_model), None


def fixed_batch(graph: ir.Graph) -> int | None:
    """Return the fixed first dimension that all inputs share, or None."""
    sizes = {size(value, 0) for value in graph.inputs}
    return sizes.pop() if len(sizes) == 1 else None


def mark_outputs(node: ir.Node, context: Context) -> str | None:
    """Mark the outputs of a node with batched inputs as batched; return the reason if its rule does not allow that."""
    name = f"{node.op_type} {node.name!r}" if node.name else node.op_type
    if not any(value in context.batched for value in node.inputs if value is not None):
        inner = (entry.as_graph() for entry in node.attributes.values() if entry.type == ir.AttributeType.GRAPH)
        read = {value for graph in inner for each in graph.all_nodes() for value in each.inputs}
        return f"{name} reads the batch inside a graph of its own" if context.batched & read else None
    rule = RULES.get(operator(node))
    if rule is None or not rule(node, context):
        return f"{name} is not known to keep the rows of a batch apart"
    context.batched.update(node.outputs)
    if node.op_type == "Reshape":
        context.reshapes.append(node)
    return None


def keep_first_dimension(graph: ir.Graph, node: ir.Node) -> None:
    """Make a Reshape keep any first dimension: its new shape begins with 0. Its rule allows no other 0."""
    output = node.outputs[0]
    assert output.shape is not None  # its rule checks it  # noqa: S101
    dims = [0, *(dim for dim in output.shape[1:] if isinstance(dim, int))]
    name = f"{output.name}/{'x'.join(map(str, dims))}"
    shape = ir.val(name, const_value=ir.tensor(np.array(dims, np.int64), name=name))
    graph.register_initializer(shape)
    node.replace_input_with(1, shape)
    node.attributes.pop("allowzero", None)
