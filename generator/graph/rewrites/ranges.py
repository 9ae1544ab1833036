"""Which part of a tensor a Slice or Split takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence

ONNX_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Part:
    """`value` holds the indices start <= i < end of an axis of the tensor that was cut."""

    value: ir.Value
    start: int
    end: int


def operator(node: ir.Node) -> str:
    """ONNX's own operator; one of another domain is unknown, whatever its name."""
    return node.op_type if node.domain in ONNX_DOMAINS else ""


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The elements of a constant; those of an input with a default are not known."""
    return None if value is None or value.is_graph_input() else value.const_value


def size(value: ir.Value | None, axis: int) -> int | None:
    """The length of an axis, where it is known."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    length = value.shape[axis]
    return length if isinstance(length, int) else None


def parts(node: ir.Node, axis: int) -> tuple[Part, ...] | None:
    """What a Slice or Split takes of its input along one axis alone; None where it is neither, or not known."""
    source = node.inputs[0] if node.inputs else None
    length = size(source, axis)
    if length is None:
        return None
    match operator(node):
        case "Slice":
            bounds = sliced(node, axis, length)
            return (Part(node.outputs[0], *bounds),) if bounds else None
        case "Split" if node.attributes.get_int("axis", 0) == axis:
            lengths = [found for output in node.outputs if (found := size(output, axis)) is not None]
            if len(lengths) < len(node.outputs) or 0 in lengths:
                return None
            seams = pairwise(accumulate(lengths, initial=0))
            return tuple(Part(out, start, end) for out, (start, end) in zip(node.outputs, seams, strict=True))
        case _:
            return None


def sliced(node: ir.Node, axis: int, length: int) -> tuple[int, int] | None:
    """Start and end of a Slice of one axis with step 1 and constant bounds."""
    starts, ends, axes, steps = (constant(value) for value in (*node.inputs[1:], *[None] * 4)[:4])
    if starts is None or ends is None or list(axes or ()) != [axis] or list(steps or (1,)) != [1]:
        return None
    if len(node.inputs) > 4 and steps is None:  # noqa: PLR2004 (a step that is computed)
        return None
    start, end, _ = slice(int(starts[0]), int(ends[0])).indices(length)
    return (start, end) if start < end else None


def constant(value: ir.Value | None) -> Sequence[int] | None:
    """The elements of a constant vector."""
    found = constant_tensor(value)
    elements: list[int] | None = None if found is None else found.numpy().ravel().tolist()
    return elements


def concat(values: Sequence[ir.Value], axis: int, like: ir.Value) -> ir.Value:
    """The output of a new Concat that computes `like`."""
    node = ir.Node("", "Concat", values, attributes=[ir.AttrInt64("axis", axis)])
    describe(node.outputs[0], like, f"{like.name}/concat")
    return node.outputs[0]


def describe(value: ir.Value, like: ir.Value, name: str) -> None:
    """Name a new value that has the type and shape of another."""
    value.name, value.shape, value.type = name, like.shape, like.type
    producer = value.producer()
    if producer is not None:
        producer.name = name
