"""Rules for operators that keep the rows of a batch independent: one rule per group of operators, in one table.

A rule takes a node with at least one batched input (its first axis is the batch, and row i depends on row i of the
graph's inputs only), and returns True if all its outputs are batched too. The semantics are those of ONNX's operator
documentation, onnx.ai/onnx/operators. The table omits operators that read the whole tensor, such as
DynamicQuantizeLinear, and those with the batch on another axis, such as LSTM.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from generator.graph.ranges import constant, size


@dataclass
class Context:
    """The state of a proof: the fixed batch, the batched values, and the Reshapes whose shape contains the batch."""

    rows: int | None
    batched: set[ir.Value]
    reshapes: list[ir.Node] = field(default_factory=list)


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
