"""Turn a fixed batch into a dynamic one, if every node is proven to keep the rows of a batch independent.

The proof goes node by node in graph order: a value is `batched` if its first axis is the batch and its row i depends
on row i of the inputs only. RULES has a rule for each operator. A rule takes a node with at least one batched input,
and returns True if all its outputs are batched too. An operator without a rule ends the proof: those that read the
whole tensor, such as DynamicQuantizeLinear, and those with the batch on another axis, such as LSTM, have none. The
semantics are those of ONNX's operator documentation, onnx.ai/onnx/operators. Verification then compares with the given
file, row by row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
import onnx_ir as ir

from generator.errors import first_line
from generator.graph.ranges import constant, operator, size

BATCH = "N"


@dataclass
class Context:
    """The state of a proof: the fixed batch, the batched values, and the Reshapes whose shape contains the batch."""

    rows: int | None
    batched: set[ir.Value]
    reshapes: list[ir.Node] = field(default_factory=list)


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


def rank(value: ir.Value | None) -> int | None:
    """Return the number of dimensions, or None if unknown."""
    return len(value.shape) if value is not None and value.shape is not None else None


def axis_of(node: ir.Node, default: int) -> int | None:
    """Return the attribute `axis`, counted from the front."""
    dimensions = rank(node.inputs[0])
    axis = node.attributes.get_int("axis", default)
    return axis % dimensions if dimensions and -dimensions <= axis < dimensions else None


def axes_of(node: ir.Node, place: int) -> Sequence[int] | None:
    """Return the axes, counted from the front: an attribute in old opsets, input number `place` in newer ones."""
    dimensions = rank(node.inputs[0])
    axes = ints(node, "axes", place)
    return None if axes is None or dimensions is None else [axis % dimensions for axis in axes]


def ints(node: ir.Node, name: str, place: int) -> Sequence[int] | None:
    """Return integers that are an attribute in old opsets, and the constant input number `place` in newer ones."""
    if name in node.attributes:
        return node.attributes[name].as_ints()
    return constant(node.inputs[place]) if len(node.inputs) > place else None


def only_first(node: ir.Node, context: Context) -> bool:
    """Allow operators that compute each output row from one row of the first input, and constants."""
    return [value in context.batched for value in node.inputs] == [True, *[False] * (len(node.inputs) - 1)]


def one_output(node: ir.Node, context: Context) -> bool:
    """Allow `only_first` operators without their second output, which indexes the whole batch or is for training."""
    return only_first(node, context) and len(node.outputs) == 1


def elementwise(node: ir.Node, context: Context) -> bool:
    """Allow broadcasts if no operand has more dimensions than the batched one, or rows of its own."""
    output = rank(node.outputs[0])
    if output is None:
        return False
    for value in node.inputs:
        if value is None:
            continue
        dimensions = rank(value)
        if dimensions is None:
            return False
        below = dimensions < output or (dimensions == output and size(value, 0) == 1)
        if not (dimensions == output if value in context.batched else below):
            return False
    return True


def inner_axis(default: int) -> Callable[[ir.Node, Context], bool]:
    """Allow operators along an axis other than the first, with constants of fewer dimensions."""

    def rule(node: ir.Node, context: Context) -> bool:
        dimensions, *others = (rank(value) for value in node.inputs if value is not None)
        shorter = all(other is not None and other < (dimensions or 0) for other in others)
        return only_first(node, context) and axis_of(node, default) not in (None, 0) and shorter

    return rule


def inner_axes(place: int) -> Callable[[ir.Node, Context], bool]:
    """Allow operators along named axes other than the first; no axes would mean all."""

    def rule(node: ir.Node, context: Context) -> bool:
        axes = axes_of(node, place)
        return only_first(node, context) and bool(axes) and 0 not in (axes or ())

    return rule


def unsqueeze(node: ir.Node, context: Context) -> bool:
    """Allow new axes after the batch; axes are counted in the output."""
    dimensions = rank(node.outputs[0])
    axes = ints(node, "axes", 1)
    return only_first(node, context) and dimensions is not None and all(axis % dimensions for axis in axes or (0,))


def concat(node: ir.Node, context: Context) -> bool:
    """Allow a Concat of batched values along an axis other than the first."""
    return axis_of(node, 0) not in (None, 0) and all(value in context.batched for value in node.inputs)


def transpose(node: ir.Node, context: Context) -> bool:
    """Allow permutations that keep the batch first."""
    order = node.attributes["perm"].as_ints() if "perm" in node.attributes else ()
    return only_first(node, context) and list(order[:1]) == [0]


def flatten(node: ir.Node, context: Context) -> bool:
    """Allow joining the axes after the batch."""
    return only_first(node, context) and axis_of(node, 1) == 1


def reshape(node: ir.Node, context: Context) -> bool:
    """Allow fixed shapes that keep the first dimension and the number of elements per row."""
    if len(node.inputs) != 2:  # noqa: PLR2004 (before opset 5 the shape was an attribute)
        return False
    before, after = node.inputs[0], node.outputs[0]
    if before is None or before.shape is None or after.shape is None or not only_first(node, context):
        return False
    first, second = ([dim for dim in shape if isinstance(dim, int)] for shape in (before.shape, after.shape))
    if len(first) < len(before.shape) or len(second) < len(after.shape) or not all(first + second):
        return False
    return first[:1] == second[:1] == [context.rows] and prod(first) == prod(second)


def matmul(node: ir.Node, context: Context) -> bool:
    """Allow rows or stacks of matrices times one matrix, and stacks times stacks."""
    left, right = node.inputs
    ranks = rank(left), rank(right)
    if None in ranks:
        return False
    a, b = ranks[0] or 0, ranks[1] or 0
    if left in context.batched and right in context.batched:
        return a == b and a > 2  # noqa: PLR2004 (below that the batch is a matrix's own axis)
    if left in context.batched:
        return (a >= 2 and b <= 2) or (a == b > 2 and size(right, 0) == 1)  # noqa: PLR2004
    return b > 2 and a <= 2  # noqa: PLR2004


def gemm(node: ir.Node, context: Context) -> bool:
    """Allow rows times a constant matrix plus one constant row."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None  # noqa: PLR2004
    same = bias is None or rank(bias) in (0, 1) or size(bias, 0) == 1
    return only_first(node, context) and not node.attributes.get_int("transA", default=0) and same


def resize(node: ir.Node, context: Context) -> bool:
    """Allow scales that leave the batch alone; `sizes` would fix the batch, and a region of interest would crop it."""
    cut = "coordinate_transformation_mode" in node.attributes and (
        node.attributes["coordinate_transformation_mode"].as_string() == "tf_crop_and_resize"
    )
    sized = len(node.inputs) > 3 and node.inputs[3] is not None  # noqa: PLR2004
    if sized or cut or not only_first(node, context):
        return False
    if "axes" in node.attributes:
        return 0 not in (axes_of(node, 0) or (0,))
    scales = constant(node.inputs[1:3][-1]) if len(node.inputs) > 1 else None  # after a region, in newer opsets
    return scales is not None and list(scales[:1]) == [1]


def pad(node: ir.Node, context: Context) -> bool:
    """Allow constant padding of axes other than the first."""
    dimensions = rank(node.inputs[0])
    pads = ints(node, "pads", 1)
    axes = len(node.inputs) > 3 and node.inputs[3] is not None  # noqa: PLR2004
    if dimensions is None or pads is None or axes:
        return False
    return only_first(node, context) and not (pads[0] or pads[dimensions])


def gather(node: ir.Node, context: Context) -> bool:
    """Allow the same indices for each row, and an embedding: a constant's rows at batched indices."""
    data, indices = node.inputs
    axis = axis_of(node, 0)
    if data in context.batched:
        return indices not in context.batched and axis not in (None, 0)
    return indices in context.batched and axis == 0


ONE_TO_ONE = """
    Abs Acos Asin Atan Cast Ceil Celu Clip Conv ConvTranspose Cos DepthToSpace Dropout Elu Erf Exp Floor Gelu
    GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LRN LeakyRelu Log
    LpPool AveragePool Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Softplus Softsign SpaceToDepth
    Sqrt Tan Tanh ThresholdedRelu"""
BROADCAST = """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor"""
REDUCTIONS = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Squeeze"""
GROUPS: tuple[tuple[Callable[[ir.Node, Context], bool], str], ...] = (
    (only_first, ONE_TO_ONE),
    (one_output, "BatchNormalization MaxPool"),
    (elementwise, BROADCAST),
    (inner_axis(-1), "Hardmax LayerNormalization LogSoftmax Softmax TopK"),
    (inner_axis(0), "ArgMax ArgMin Split"),
    (inner_axis(1), "DequantizeLinear QuantizeLinear"),
    (inner_axes(1), REDUCTIONS),
    (concat, "Concat"),
    (flatten, "Flatten"),
    (gather, "Gather"),
    (gemm, "Gemm"),
    (matmul, "MatMul"),
    (pad, "Pad"),
    (reshape, "Reshape"),
    (resize, "Resize Upsample"),
    (inner_axes(3), "Slice"),
    (transpose, "Transpose"),
    (unsqueeze, "Unsqueeze"),
)
RULES = {operator: rule for rule, operators in GROUPS for operator in operators.split()}
