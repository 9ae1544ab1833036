"""When an operator keeps the rows of a batch apart: a rule a group of operators, in one table.

A rule gets a node of which at least one input is batched (its first axis is the batch, each row of it depends on that
row of the graph's inputs alone), and says whether the same is true of all its outputs. Operators: ONNX's operator
documentation, onnx.ai/onnx/operators. Missing here is, on purpose, what looks at the whole tensor, such as
DynamicQuantizeLinear, or has its batch on another axis, such as LSTM.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from generator.graph.rewrites.ranges import constant, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir


@dataclass
class Context:
    """What is known so far: the fixed batch, the values that carry it, the Reshapes that must let it vary."""

    rows: int | None
    batched: set[ir.Value]
    reshapes: list[ir.Node] = field(default_factory=list)

    def only_first(self, node: ir.Node) -> bool:
        """Whether the first input is batched and the others are not."""
        return [value in self.batched for value in node.inputs] == [True, *[False] * (len(node.inputs) - 1)]


def rank(value: ir.Value | None) -> int | None:
    """How many dimensions it has, where that is known."""
    return len(value.shape) if value is not None and value.shape is not None else None


def axis_of(node: ir.Node, default: int) -> int | None:
    """The attribute `axis`, counted from the front."""
    dimensions = rank(node.inputs[0])
    axis = node.attributes.get_int("axis", default)
    return axis % dimensions if dimensions and -dimensions <= axis < dimensions else None


def axes_of(node: ir.Node, place: int) -> Sequence[int] | None:
    """The axes, an attribute in old opsets and input number `place` in newer ones, counted from the front."""
    dimensions = rank(node.inputs[0])
    if dimensions is None:
        return None
    if "axes" in node.attributes:
        axes: Sequence[int] | None = node.attributes["axes"].as_ints()
    else:
        axes = constant(node.inputs[place]) if len(node.inputs) > place else None
    return None if axes is None else [axis % dimensions for axis in axes]


def first_input(node: ir.Node, context: Context) -> bool:
    """Each row of the first input gives that row of the output; the others are constants."""
    return context.only_first(node)


def one_output(node: ir.Node, context: Context) -> bool:
    """The same, of operators whose second output counts through the whole batch, or is of training."""
    return context.only_first(node) and len(node.outputs) == 1


def elementwise(node: ir.Node, context: Context) -> bool:
    """Broadcasting puts the batch at the front only if no other operand is longer, or has rows of its own."""
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
    """Rows stay apart if the operator works along another axis than the first, with constants of fewer axes."""

    def rule(node: ir.Node, context: Context) -> bool:
        dimensions, *others = (rank(value) for value in node.inputs if value is not None)
        shorter = all(other is not None and other < (dimensions or 0) for other in others)
        return context.only_first(node) and axis_of(node, default) not in (None, 0) and shorter

    return rule


def inner_axes(place: int) -> Callable[[ir.Node, Context], bool]:
    """The same of several axes, which must be named: none means all."""

    def rule(node: ir.Node, context: Context) -> bool:
        axes = axes_of(node, place)
        return context.only_first(node) and bool(axes) and 0 not in (axes or ())

    return rule


def unsqueeze(node: ir.Node, context: Context) -> bool:
    """New axes come after the batch; they are counted in the output."""
    dimensions = rank(node.outputs[0])
    axes = node.attributes["axes"].as_ints() if "axes" in node.attributes else constant(node.inputs[1])
    return context.only_first(node) and dimensions is not None and all(axis % dimensions for axis in axes or (0,))


def concat(node: ir.Node, context: Context) -> bool:
    """Side by side, not one after the other; a constant would have rows of its own."""
    return axis_of(node, 0) not in (None, 0) and all(value in context.batched for value in node.inputs)


def transpose(node: ir.Node, context: Context) -> bool:
    """The batch stays first."""
    order = node.attributes["perm"].as_ints() if "perm" in node.attributes else ()
    return context.only_first(node) and list(order[:1]) == [0]


def flatten(node: ir.Node, context: Context) -> bool:
    """Only the axes after the batch are joined."""
    return context.only_first(node) and axis_of(node, 1) == 1


def reshape(node: ir.Node, context: Context) -> bool:
    """A row stays a row if the first dimension does and the rest holds as many elements."""
    if len(node.inputs) != 2:  # noqa: PLR2004 (before opset 5 the shape was an attribute)
        return False
    before, after = node.inputs[0], node.outputs[0]
    if before is None or before.shape is None or after.shape is None or not context.only_first(node):
        return False
    first, second = ([dim for dim in shape if isinstance(dim, int)] for shape in (before.shape, after.shape))
    if len(first) < len(before.shape) or len(second) < len(after.shape) or not all(first + second):
        return False
    return first[:1] == second[:1] == [context.rows] and prod(first) == prod(second)


def matmul(node: ir.Node, context: Context) -> bool:
    """A row, or a stack of matrices, times the same matrix; or stack by stack."""
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
    """Rows times a constant matrix, plus the same constant row."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None  # noqa: PLR2004
    same = bias is None or rank(bias) in (0, 1) or size(bias, 0) == 1
    return context.only_first(node) and not node.attributes.get_int("transA", default=0) and same


def resize(node: ir.Node, context: Context) -> bool:
    """By scales, that of the batch being 1 or not among them; sizes would fix it, a region of interest cut it."""
    cut = "coordinate_transformation_mode" in node.attributes and (
        node.attributes["coordinate_transformation_mode"].as_string() == "tf_crop_and_resize"
    )
    sized = len(node.inputs) > 3 and node.inputs[3] is not None  # noqa: PLR2004
    if sized or cut or not context.only_first(node):
        return False
    if "axes" in node.attributes:
        return 0 not in (axes_of(node, 0) or (0,))
    scales = constant_floats(node.inputs[1:3][-1]) if len(node.inputs) > 1 else None  # after a region, in newer opsets
    return scales is not None and list(scales[:1]) == [1]


def constant_floats(value: ir.Value | None) -> Sequence[float] | None:
    """The elements of a constant vector of floats."""
    if value is None or value.const_value is None:
        return None
    elements: list[float] = value.const_value.numpy().ravel().tolist()
    return elements


def pad(node: ir.Node, context: Context) -> bool:
    """No rows are added."""
    dimensions = rank(node.inputs[0])
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else constant(node.inputs[1])
    axes = len(node.inputs) > 3 and node.inputs[3] is not None  # noqa: PLR2004
    if dimensions is None or pads is None or axes:
        return False
    return context.only_first(node) and not (pads[0] or pads[dimensions])


def gather(node: ir.Node, context: Context) -> bool:
    """Of each row the same places; or an embedding, a constant's rows by the batch's indices."""
    data, indices = node.inputs
    axis = axis_of(node, 0)
    if data in context.batched:
        return indices not in context.batched and axis not in (None, 0)
    return indices in context.batched and axis == 0


def slices(node: ir.Node, context: Context) -> bool:
    """Of each row the same part; axes must be named."""
    axes = axes_of(node, 3)
    return context.only_first(node) and bool(axes) and 0 not in (axes or ())


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
    (first_input, ONE_TO_ONE),
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
    (slices, "Slice"),
    (transpose, "Transpose"),
    (unsqueeze, "Unsqueeze"),
)
RULES = {operator: rule for rule, operators in GROUPS for operator in operators.split()}
