"""Read an ONNX file without its weights, in little memory even if the file is large or hostile.

The reader walks the encoded protobuf, skips the data of tensors, and lets onnx parse the rest. It reads the file and
does not map it: the pages of a mapped file, and their neighbours, count as the program's memory, and a file that
another program truncates meanwhile would end this one with SIGBUS.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx.external_data_helper import uses_external_data

SMALL_BYTES = 1024
KEPT_MIB = 64
# An empty node is two bytes in the file and over a hundred in memory: bytes alone bound neither memory nor time.
STEPS = 1 << 21
LEVELS = 64  # protobuf itself takes 100
WINDOW_BYTES = 1 << 13
VARINT, DELIMITED = 0, 2
FIXED_BYTES = {1: 8, 5: 4}  # the other wire types; 3 and 4 are groups, which ONNX never had
VARINT_BYTES = 10
MORE = 1 << 7  # the bit of a varint's byte that says another follows
TAGS = range(1 << 3, 1 << 32)  # a field's number, from 1 on, and three bits for the wire type
MODEL, TENSOR = onnx.ModelProto.DESCRIPTOR.full_name, onnx.TensorProto.DESCRIPTOR.full_name
TEXT, DATA, OTHER = "text", "data", "other"


class HeaderUnreadable(ValueError):
    """A file is not a protobuf of a model, or holds too much besides weights; `str()` is the reason."""


@dataclass(frozen=True)
class OnnxHeader:
    """A model without its weights: a tensor of more than 1024 bytes in the file, name and dims included, has no data.

    An empty file gives an empty model, without a graph. `external` are the locations of external data, each once, in
    the order of first use: a graph's initializers, then its nodes; functions come after the graph. A tensor without a
    location has the location "".
    """

    model: onnx.ModelProto
    external: tuple[str, ...]


def read_header(path: Path) -> OnnxHeader:
    """Read the model in a file, without its weights.

    Raises:
        HeaderUnreadable: the file is not regular, not a protobuf of a model, or holds too much besides weights.
        OSError: the file is missing or cannot be read.
    """
    # Checked before the file is opened: opening a FIFO waits for whoever writes to it.
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise HeaderUnreadable("it is a folder" if stat.S_ISDIR(mode) else "it is no regular file")
    with path.open("rb") as file:
        walk = walked(partial(os.pread, file.fileno()), os.fstat(file.fileno()).st_size)
    try:
        model = onnx.ModelProto.FromString(b"".join(walk.parts))
    except DecodeError as error:
        raise HeaderUnreadable("it is no protobuf of a model") from error
    locations = (data_place(tensor).get("location", "") for tensor in external_tensors(model))
    return OnnxHeader(model, tuple(dict.fromkeys(locations)))


def data_place(tensor: onnx.TensorProto) -> dict[str, str]:
    """Return the location, offset and length of external data; the last entry counts, as for onnx and ONNX Runtime."""
    return {entry.key: entry.value for entry in tensor.external_data}


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Return the tensors of a model whose data are in other files."""
    return filter(uses_external_data, tensors(model))


def tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield the tensors in a message, those of a graph before those of its nodes."""
    fields = FIELDS[message.DESCRIPTOR.full_name]
    inner = [(field, value) for field, value in message.ListFields() if fields[field.number] in HOLDERS]
    for field, value in sorted(inner, key=lambda entry: entry[0].name == "node"):
        for each in value if field.label == field.LABEL_REPEATED else (value,):
            if isinstance(each, onnx.TensorProto):
                yield each
            else:
                yield from tensors(each)


def meaning(field: FieldDescriptor) -> str:
    """Return the kind of a field: the name of a message, TEXT, DATA of a tensor, or OTHER."""
    if field.message_type:
        name: str = field.message_type.full_name
        return name
    # onnx.proto keeps a tensor's elements in the fields whose names end in _data.
    if field.containing_type.full_name == TENSOR and field.name.endswith("_data"):
        return DATA
    return TEXT if field.type == field.TYPE_STRING else OTHER


def messages(kinds: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """Yield message types and the types declared inside them."""
    for kind in kinds:
        yield kind
        yield from messages(kind.nested_types)


# The kind of each field by message and number, from the onnx.proto of the installed onnx.
FIELDS = {
    kind.full_name: {field.number: meaning(field) for field in kind.fields}
    for kind in messages(onnx.ModelProto.DESCRIPTOR.file.message_types_by_name.values())
}
# The messages that can hold tensors, at any depth.
HOLDERS = {TENSOR}
while more := {kind for kind, fields in FIELDS.items() if HOLDERS & set(fields.values())} - HOLDERS:
    HOLDERS |= more


class Walk:
    """A walk over a protobuf: the `parts` read so far, without the data of large tensors, and the bytes left."""

    def __init__(self, pread: Callable[[int, int], bytes]) -> None:
        self.pread = pread
        self.window, self.origin = b"", 0
        self.parts: list[bytes] = []
        self.left = KEPT_MIB << 20
        self.steps = iter(range(STEPS))

    def message(self, kind: str, at: int, end: int, level: int = 1, *, split: bool = True) -> None:
        """Check a message of a type in the bytes at <= i < end, nested `level` messages deep.

        With `split` add it to `parts` field by field; otherwise `parts` holds it as a whole already.
        """
        if level > LEVELS:
            raise HeaderUnreadable(f"its messages are nested more than {LEVELS} levels deep")
        fields = FIELDS[kind]
        for _ in self.steps:
            if at == end:
                return
            tag, start, stop = self.field(at, end)
            content = fields.get(tag >> 3, OTHER)
            inner = content in FIELDS and tag & 7 == DELIMITED
            if inner and stop - start > SMALL_BYTES:
                slot, left = len(self.parts), self.left
                self.parts.append(b"")  # the length is known only afterwards
                self.message(content, start, stop, level + 1)
                self.parts[slot] = encode_varint(tag) + encode_varint(left - self.left)
                self.keep(len(self.parts[slot]))
            elif not split or content != DATA:
                if split:
                    self.keep(stop - at)
                    self.parts.append(self.read(at, stop))
                if inner:
                    self.message(content, start, stop, level + 1, split=False)
                elif content == TEXT:
                    try:
                        self.read(start, stop).decode()
                    except UnicodeDecodeError as error:  # protobuf would return bytes
                        raise HeaderUnreadable(f"its text at byte {start} is not UTF-8") from error
            at = stop
        raise HeaderUnreadable(f"it has more than {STEPS} fields and messages")

    def field(self, at: int, end: int) -> tuple[int, int, int]:
        """Return the tag of a field, and the offsets of its content's begin and end."""
        if at + 2 * VARINT_BYTES > self.origin + len(self.window):
            self.fill(at, at + 1)
        begin = at - self.origin
        length = 0
        try:
            tag, place = decode_varint(self.window, begin)
            if tag & 7 == DELIMITED:
                length, place = decode_varint(self.window, place)
            elif tag & 7 == VARINT:
                _, place = decode_varint(self.window, place)
            else:
                length = FIXED_BYTES[tag & 7]
        except (LookupError, ValueError) as error:
            raise broken(at) from error
        start = at + place - begin
        if tag not in TAGS or length > end - start:
            raise broken(at)
        return tag, start, start + length

    def read(self, at: int, end: int) -> bytes:
        """Return bytes of the file; their offset never decreases."""
        if end > self.origin + len(self.window):
            self.fill(at, end)
        return self.window[at - self.origin : end - self.origin]

    def fill(self, at: int, end: int) -> None:
        """Load the window with these bytes and those that follow."""
        self.window, self.origin = self.pread(max(WINDOW_BYTES, end - at), at), at
        if len(self.window) < end - at:
            raise broken(at)

    def keep(self, length: int) -> None:
        """Count bytes against the limit before they are read into `parts`."""
        self.left -= length
        if self.left < 0:
            raise HeaderUnreadable(f"it has more than {KEPT_MIB} MiB beside its weights")


def walked(pread: Callable[[int, int], bytes], size_bytes: int) -> Walk:
    """Walk over a whole model, or raise HeaderUnreadable; `pread(count, offset)` returns bytes, fewer at the end."""
    walk = Walk(pread)
    walk.message(MODEL, 0, size_bytes)
    return walk


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint, seven bits per byte with the lowest first; return the number and the offset after it.

    Raise IndexError if it is cut short, ValueError if it has more than ten bytes.
    """
    number = data[at]
    if number < MORE:
        return number, at + 1
    number -= MORE
    for place in range(1, VARINT_BYTES):
        byte = data[at + place]
        number |= byte % MORE << 7 * place
        if byte < MORE:
            return number, at + place + 1
    raise ValueError(number)


def encode_varint(number: int) -> bytes:
    """Write a number as a varint."""
    data = bytearray()
    while number >= MORE:
        data.append(number % MORE | MORE)
        number //= MORE
    data.append(number)
    return bytes(data)


def broken(at: int) -> HeaderUnreadable:
    """Return the error for bytes that are not a protobuf."""
    return HeaderUnreadable(f"it is no protobuf, or cut short, at byte {at}")
