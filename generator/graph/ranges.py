"""Read nodes: operators, sizes, constants, and the part of a tensor that a Slice or Split takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import onnx_ir as ir

ONNX_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Part:
    """A slice of a tensor: `value` holds the indices start <= i < end of one axis."""

    value: ir.Value
    start: int
    end: int


def operator(node: ir.Node) -> str:
    """Return the name of a standard ONNX operator, or an empty text for an operator of another domain."""
    return node.op_type if node.domain in ONNX_DOMAINS else ""


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor of a constant; None for an input with a default, which a request may override."""
    return None if value is None or value.is_graph_input() else value.const_value


def size(value: ir.Value | None, axis: int) -> int | None:
    """Return the length of an axis, or None if it is unknown."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    length = value.shape[axis]
    return length if isinstance(length, int) else None


def parts(node: ir.Node, axis: int) -> tuple[Part, ...] | None:
    """Return the parts that a Slice or Split takes along one axis only; None for other nodes and unknown bounds."""
    source = node.inputs[0] if node.inputs else None
    length = size(source, axis)
    if length is None:
        return None
    match operator(node):
        case "Slice":
            bounds = slice_bounds(node, axis, length)
            return (Part(node.outputs[0], *bounds),) if bounds else None
        case "Split" if node.attributes.get_int("axis", 0) == axis:
            lengths = [length for output in node.outputs if (length := size(output, axis)) is not None]
            if len(lengths) < len(node.outputs) or 0 in lengths:
                return None
            seams = pairwise(accumulate(lengths, initial=0))
            return tuple(Part(out, start, end) for out, (start, end) in zip(node.outputs, seams, strict=True))
        case _:
            return None


def slice_bounds(node: ir.Node, axis: int, length: int) -> tuple[int, int] | None:
    """Return start and end of a Slice of one axis with step 1 and constant bounds."""
    starts, ends, axes, steps = (constant(value) for value in (*node.inputs[1:], *[None] * 4)[:4])
    if starts is None or ends is None or list(axes or ()) != [axis] or list(steps or (1,)) != [1]:
        return None
    if len(node.inputs) > 4 and steps is None:  # noqa: PLR2004 (a step that is computed)
        return None
    start, end, _ = slice(int(starts[0]), int(ends[0])).indices(length)
    return (start, end) if start < end else None


def constant(value: ir.Value | None) -> Sequence[int] | None:
    """Return the elements of a constant vector."""
    tensor = constant_tensor(value)
    elements: list[int] | None = None if tensor is None else tensor.numpy().ravel().tolist()
    return elements
