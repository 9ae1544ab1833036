"""An ONNX file, a constant at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.graph.detach_weights import skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

# Field numbers of ModelProto.graph and GraphProto.initializer in onnx.proto, as length-delimited protobuf tags.
GRAPH, INITIALIZER = (bytes([number << 3 | 2]) for number in (7, 5))
SEVEN_BITS = 7


def pieces(model: onnx.ModelProto) -> Iterator[bytes]:
    """The model as it is written to a file, without a second copy of its weights.

    Where a message's fields stand does not matter in protobuf: the graph's constants are its last.
    """
    rest = skeleton(model)
    graph = rest.graph.SerializeToString(deterministic=True)
    rest.ClearField("graph")
    heads = [INITIALIZER + varint(tensor.ByteSize()) for tensor in model.graph.initializer]
    size = len(graph) + sum(map(len, heads)) + sum(tensor.ByteSize() for tensor in model.graph.initializer)
    yield rest.SerializeToString(deterministic=True) + GRAPH + varint(size) + graph
    for head, tensor in zip(heads, model.graph.initializer, strict=True):
        yield head
        yield tensor.SerializeToString(deterministic=True)


def varint(number: int) -> bytes:
    """A length as protobuf writes it: seven bits a byte, the lowest first."""
    octets = bytearray()
    while number >> SEVEN_BITS:
        octets.append(number & 0x7F | 0x80)
        number >>= SEVEN_BITS
    return bytes([*octets, number])
