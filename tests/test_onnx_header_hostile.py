"""Reading large and hostile ONNX files: memory, time and errors."""

import os
import random
import subprocess
import sys
import time
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto
from onnx_bytes import branches, external, field, functions, sparse_tensors, varint, without_data

from generator.graph import header as onnx_header
from generator.graph.header import HeaderUnreadable, read_header

SECONDS = 1


def nested(depth):
    """Return a model with nested Ifs."""
    graph = field(1, field(4, b"Abs"))
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def unreadable(read, content):
    """Return the error of a read, or None; any other exception fails."""
    try:
        header = read(content)
    except HeaderUnreadable as error:
        return str(error)
    assert all(isinstance(location, str) for location in header.external)
    return None


def test_little_memory_and_time_for_300_mb(tmp_path):
    """2000 tensors in 300 MB, read ten times in a separate process."""
    path = tmp_path / "model.onnx"
    size = 150_000
    heads = [
        onnx.TensorProto(name=f"weight{number}", data_type=TensorProto.FLOAT, dims=[size // 4]).SerializeToString()
        + varint(9 << 3 | 2)
        + varint(size)
        for number in range(2000)
    ]
    heads = [varint(5 << 3 | 2) + varint(len(head) + size) + head for head in heads]
    with path.open("wb") as file:
        file.write(varint(7 << 3 | 2) + varint(sum(map(len, heads)) + len(heads) * size))
        for head in heads:
            file.write(head)
            file.seek(size, os.SEEK_CUR)
        file.truncate()
    program = """
import pathlib, sys, time
from generator.graph.header import read_header

def peak():  # of this process alone; getrusage begins with the peak of the one that started it
    return int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

before, begin = peak(), time.perf_counter()
for _ in range(10):
    header = read_header(pathlib.Path(sys.argv[1]))
seconds = time.perf_counter() - begin
print(len(header.model.graph.initializer), header.model.ByteSize(), peak() - before, seconds)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    count, kept, kilobytes, seconds = map(float, done.stdout.split())
    assert path.stat().st_size > 300_000_000
    assert count == 2000
    assert kept < 100_000
    assert kilobytes < 50_000
    assert seconds < SECONDS


def test_truncated_file(tmp_path):
    """A file cut between two fields is read, as protobuf reads it, and refused if cut elsewhere."""
    path = tmp_path / "model.onnx"
    content = external().SerializeToString() + branches().SerializeToString()
    path.write_bytes(content)
    for length in range(len(content), -1, -1):
        os.truncate(path, length)
        try:
            onnx.ModelProto.FromString(content[:length])
        except onnx_header.DecodeError:
            with pytest.raises(HeaderUnreadable):
                read_header(path)
        else:
            read_header(path)


def test_2000_damaged_files(read):
    """With up to four changed bytes the result is a header or HeaderUnreadable."""
    generator = random.Random(20)  # noqa: S311
    contents = [build().SerializeToString() for build in (external, branches, functions, sparse_tensors)]
    # Beside the data of tensors, which are most of a file and are not looked at.
    contents = [without_data(onnx.ModelProto.FromString(content)).SerializeToString() for content in contents]
    refused = 0
    for turn in range(2000):
        content = bytearray(contents[turn % len(contents)])
        for _ in range(generator.randint(1, 4)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        refused += unreadable(read, content) is not None
    assert 200 < refused < 1800


BROKEN = "it is no protobuf, or cut short, at byte"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x00", f"{BROKEN} 0"),
        (b"\x08\x08\x02\x01", f"{BROKEN} 2"),  # field 0
        *((bytes([8, 8, 1 << 3 | wire, 0]), f"{BROKEN} 2") for wire in (3, 4, 6, 7)),
        (b"\x08", f"{BROKEN} 0"),
        (b"\x08\xff", f"{BROKEN} 0"),
        (b"\x08" + b"\xff" * 9 + b"\x80\x00", f"{BROKEN} 0"),  # eleven bytes
        (b"\xff" * 100, f"{BROKEN} 0"),
        (varint(1 << 32) + b"\x00", f"{BROKEN} 0"),  # field 1 << 29
        (b"\x12", f"{BROKEN} 0"),
        (b"\x12\x05abcd", f"{BROKEN} 0"),
        (b"\x12" + varint((1 << 64) - 1) + b"abcd", f"{BROKEN} 0"),
        (b"\x0d\0\0\0", f"{BROKEN} 0"),
        (b"\x09\0\0\0", f"{BROKEN} 0"),
        (field(7, b"\x12\x05abcd") + b"\x12\x04abcd", f"{BROKEN} 2"),  # a name beyond its graph
        (field(7, field(1, b"\x08") + b"\x12\x01a"), f"{BROKEN} 4"),  # a number beyond its node
        (field(7, field(5, field(9, bytes(2000))))[:-1], f"{BROKEN} 0"),
        (field(7, field(5, b"\x4a" + varint(2000) + bytes(1999))), f"{BROKEN} 6"),
        (field(7, field(1, field(5, b"\x3a\x01\xff" + b"\x42\x01\xff"))), "it is no protobuf of a model"),
        (b"\x12\x01\xff", "its text at byte 2 is not UTF-8"),
        (field(7, field(2, b"a" * 2000 + "é".encode("latin1"))), "its text at byte 6 is not UTF-8"),
        (nested(21), "its messages are nested more than 64 levels deep"),
        (nested(1000), "its messages are nested more than 64 levels deep"),
        (field(3, bytes(65 << 20)), "it has more than 64 MiB beside its weights"),
        (field(7, 17 * field(1, field(5, field(4, bytes(4 << 20))))), "it has more than 64 MiB beside its weights"),
        (field(7, b"\x0a\x00" * (1 << 20)), "it has more than 2097152 fields and messages"),
        (field(7, field(5, b"\x25\0\0\0\0" * (1 << 21))), "it has more than 2097152 fields and messages"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_errors(read, content, why):
    """Each error has its own text."""
    assert unreadable(read, content) == why


def test_nested_graphs(read):
    """Twenty levels are read."""
    assert read(nested(20)).model == onnx.ModelProto.FromString(nested(20))


def test_two_gigabytes_of_zeros(tmp_path):
    """The first byte is refused."""
    path = tmp_path / "zeros.onnx"
    path.touch()
    os.truncate(path, 1 << 31)
    begin = time.perf_counter()
    with pytest.raises(HeaderUnreadable, match=f"{BROKEN} 0"):
        read_header(path)
    assert time.perf_counter() - begin < SECONDS


def test_two_gigabytes_of_weights(tmp_path):
    """A file larger than the limit of protobuf is read."""
    path = tmp_path / "model.onnx"
    size = (1 << 31) + 5
    tail = varint(9 << 3 | 2) + varint(size)
    initializer = varint(5 << 3 | 2) + varint(len(tail) + size) + tail
    path.write_bytes(varint(7 << 3 | 2) + varint(len(initializer) + size) + initializer)
    os.truncate(path, path.stat().st_size + size)
    begin = time.perf_counter()
    assert read_header(path).model.graph.initializer == [onnx.TensorProto()]
    assert time.perf_counter() - begin < SECONDS


def test_no_regular_file(tmp_path):
    """A folder and a pipe without a writer are refused."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HeaderUnreadable, match="it is a folder"):
        read_header(tmp_path)
    with pytest.raises(HeaderUnreadable, match="it is no regular file"):
        read_header(tmp_path / "pipe")


def test_missing_file(tmp_path):
    """The error of the system is raised."""
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "model.onnx")


@pytest.mark.parametrize(("content", "at"), [(b"\x12\x02ab", 4), (b"\x12\x04ab", 0), (b"\x12", 0), (b"", 0)])
def test_file_truncated_while_reading(monkeypatch, read, content, at):
    """The read is refused and this process survives."""
    monkeypatch.setattr(onnx_header.os, "fstat", lambda _: SimpleNamespace(st_size=6))
    assert unreadable(read, content) == f"{BROKEN} {at}"
