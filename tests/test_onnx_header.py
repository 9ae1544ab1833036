"""What is read of an ONNX file without its weights, of large files and of hostile ones."""

import os
import random
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from helpers import onnx_model, small_onnx
from onnx import TensorProto, helper, numpy_helper

from generator import onnx_header
from generator.onnx_header import HeaderUnreadable, read_header

DATA = ("float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data")
SMALL_BYTES = 1024
SECONDS = 1
INPUT = {"x": ["fp32", "N"]}
OUTPUT = {"y": ["fp32", "N"]}


def without_data(message):
    """Delete what `read_header` is to leave out, field by named field."""
    if isinstance(message, onnx.TensorProto):
        for name in DATA if message.ByteSize() > SMALL_BYTES else ():
            message.ClearField(name)
    inner = {
        onnx.ModelProto: ("graph", "functions", "training_info"),
        onnx.TrainingInfoProto: ("initialization", "algorithm"),
        onnx.GraphProto: ("initializer", "sparse_initializer", "node"),
        onnx.FunctionProto: ("node", "attribute_proto"),
        onnx.NodeProto: ("attribute",),
        onnx.AttributeProto: ("t", "g", "tensors", "graphs", "sparse_tensor", "sparse_tensors"),
        onnx.SparseTensorProto: ("values", "indices"),
    }
    for name in inner.get(type(message), ()):
        value = getattr(message, name)
        if isinstance(value, onnx.TensorProto | onnx.GraphProto | onnx.SparseTensorProto):
            value = [value] if message.HasField(name) else []
        for each in value:
            without_data(each)
    return message


def tensor(name, count=1000, seed=0):
    """A tensor of random floats, in raw_data."""
    return numpy_helper.from_array(np.random.default_rng(seed).random(count, np.float32), name)


def elsewhere(name, location):
    """A tensor with its data in a file of their own."""
    made = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[7], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value=location)
    made.external_data.add(key="offset", value="4096")
    return made


def sparse(values, indices):
    """A sparse tensor of these."""
    return helper.make_sparse_tensor(values, indices, [100_000])


def graph_of(*nodes, initializer=()):
    """A graph as an attribute has it."""
    return helper.make_graph(nodes, "inner", [], [onnx.ValueInfoProto(name="y")], initializer)


def constant(name, value, **attributes):
    """A node that holds a tensor."""
    return helper.make_node("Constant", [], [name], value=value, **attributes)


def with_initializers(*made):
    """An Identity, and tensors."""
    model = onnx_model([("Identity", ["x"], ["y"])], INPUT, OUTPUT)
    model.graph.initializer.extend(made)
    return model


def with_nodes(*nodes):
    """An Identity, and nodes."""
    model = onnx_model([("Identity", ["x"], ["y"])], INPUT, OUTPUT)
    model.graph.node.extend(nodes)
    return model


def raw():
    """Large and small tensors, in raw_data."""
    return with_initializers(tensor("large"), tensor("small", 3), tensor("none", 0))


def typed():
    """Tensors in the other data fields, one of strings."""
    one = helper.make_tensor
    return with_initializers(
        one("floats", TensorProto.FLOAT, [900], np.arange(900.0)),
        one("doubles", TensorProto.DOUBLE, [900], np.arange(900.0)),
        one("int32s", TensorProto.INT32, [900], range(-450, 450)),
        one("int64s", TensorProto.INT64, [900], range(-450, 450)),
        one("uint64s", TensorProto.UINT64, [900], range(900)),
        one("strings", TensorProto.STRING, [900], [b"a word"] * 900),
        one("shape", TensorProto.INT64, [2], [1, -1]),
    )


def unpacked():
    """Numbers that an old writer has written one by one, as protobuf still reads them."""
    return onnx.ModelProto.FromString(field(7, field(5, b"\x08\xac\x02\x10\x01" + b"\x25\0\0\x80\x3f" * 300)))


def constants():
    """Large and small tensors in nodes, also several in one attribute."""
    return with_nodes(
        constant("large", tensor("large")),
        constant("shape", tensor("small", 2)),
        helper.make_node("Many", [], ["m"], domain="own", tensors=[tensor("a"), tensor("b", 2), tensor("c")]),
        helper.make_node("Text", [], ["t"], domain="own", text="no tensor " * 1000, floats=[0.5] * 1000, i=-1),
    )


def branches():
    """An If in a Loop, each with tensors."""
    choice = helper.make_node(
        "If",
        ["c"],
        ["z"],
        then_branch=graph_of(constant("y", tensor("then"))),
        else_branch=graph_of(initializer=[tensor("y"), tensor("tiny", 1)]),
    )
    loop = helper.make_node("Loop", ["n", "c"], ["l"], body=graph_of(choice, initializer=[tensor("body")]))
    return with_nodes(loop, helper.make_node("Own", [], ["o"], domain="own", graphs=[graph_of(choice), graph_of()]))


def functions():
    """Tensors in a function's nodes and in its attributes' defaults, and in training graphs."""
    model = with_nodes()
    default = helper.make_attribute("weight", tensor("default"))
    model.functions.append(
        helper.make_function(
            "own", "F", ["x"], ["y"], [constant("y", tensor("f"))], [helper.make_opsetid("", 18)], [], [default]
        )
    )
    model.training_info.add().algorithm.CopyFrom(graph_of(constant("y", tensor("gradient"))))
    return model


def sparse_tensors():
    """In the graph and in nodes."""
    indices = numpy_helper.from_array(np.arange(1000), "indices")
    made = sparse(tensor("values"), indices)
    model = with_nodes(
        helper.make_node("Constant", [], ["s"], sparse_value=made),
        helper.make_node("Own", [], ["o"], domain="own", several=[made, made]),
    )
    model.graph.sparse_initializer.append(made)
    return model


def external():
    """Data of the graph, of a node, of a branch and of a function in other files, some in one."""
    model = with_nodes(
        constant("k", elsewhere("k", "node.bin")),
        helper.make_node("If", ["c"], ["i"], then_branch=graph_of(initializer=[elsewhere("b", "branch.bin")])),
    )
    model.graph.initializer.extend([tensor("w"), elsewhere("v", "weights.bin"), elsewhere("u", "more.bin")])
    model.graph.initializer.append(elsewhere("t", "weights.bin"))
    model.graph.sparse_initializer.append(sparse(elsewhere("s", "sparse.bin"), elsewhere("i", "weights.bin")))
    here = tensor("here", 1)
    here.external_data.add(key="location", value="unused.bin")
    model.graph.initializer.append(here)
    nodes = [constant("y", elsewhere("f", "functions/f.bin")), constant("z", elsewhere("g", "node.bin"))]
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)]))
    return model


MODELS = [small_onnx, raw, typed, constants, branches, functions, sparse_tensors, external, onnx.ModelProto]


@pytest.fixture(name="read")
def _read(tmp_path):
    """The header of a file with these bytes."""

    def read(content):
        (tmp_path / "model.onnx").write_bytes(content)
        return read_header(tmp_path / "model.onnx")

    return read


def varint(number):
    """A number on the wire."""
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def field(number, content):
    """A field with a length on the wire."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def nested(depth):
    """A model with an If in an If, and so on."""
    graph = field(1, field(4, b"Abs"))
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def unreadable(read, content):
    """Why it cannot be read, None if it can; it may not fail in another way."""
    try:
        header = read(content)
    except HeaderUnreadable as error:
        return str(error)
    assert all(isinstance(location, str) for location in header.external)
    return None


@pytest.mark.parametrize("build", [*MODELS, unpacked])
def test_as_onnx_reads_it(tmp_path, build):
    """All but the data of tensors is what onnx.load gives."""
    path = tmp_path / "model.onnx"
    path.write_bytes(build().SerializeToString())
    expected = without_data(onnx.load(path, load_external_data=False))
    assert read_header(path).model == expected
    assert all(each.ByteSize() <= SMALL_BYTES for each in onnx_header.tensors(expected))


@pytest.mark.parametrize("build", MODELS)
def test_what_is_read_is_a_file_too(read, build):
    """A header, written and read again, stays as it is."""
    header = read(build().SerializeToString())
    assert read(header.model.SerializeToString()) == header


def test_fields_in_parts_are_joined(read):
    """A graph in two pieces, as protobuf allows it, with a tensor in each."""
    one, two = raw(), typed()
    header = read(one.SerializeToString() + two.SerializeToString())
    assert header.model == without_data(onnx.ModelProto.FromString(one.SerializeToString() + two.SerializeToString()))
    assert len(header.model.graph.initializer) == 10


def test_data_of_small_tensors_are_kept(read):
    """Of those that take up to 1024 bytes."""
    model = with_initializers(*(tensor("weight", count) for count in range(240, 270)))
    header = read(model.SerializeToString())
    assert header.model == without_data(model)
    assert len({each.HasField("raw_data") for each in header.model.graph.initializer}) == 2


@pytest.mark.parametrize("size", range(20, 60))
def test_fields_across_the_ends_of_what_is_read_at_once(monkeypatch, read, size):
    """Wherever a read ends."""
    monkeypatch.setattr(onnx_header, "WINDOW_BYTES", size)
    assert read(branches().SerializeToString()).model == without_data(branches())


def test_fields_of_another_type(read):
    """A graph that is a number, a name that is one, and fields that ONNX does not have: as protobuf takes them."""
    content = b"\x38\x05" + b"\x10\x05" + field(1000, b"\xff") + b"\xf9\x3e" + bytes(8) + b"\x39" + b"\xff" * 8
    assert read(content).model == onnx.ModelProto.FromString(content)
    assert not read(content).model.HasField("graph")


def test_locations_in_order_of_first_use(read):
    """The graph's own, then its nodes', then functions'; one that data_location does not point to is none."""
    found = read(external().SerializeToString()).external
    assert found == ("weights.bin", "more.bin", "sparse.bin", "node.bin", "branch.bin", "functions/f.bin")


def test_the_last_location_counts(read):
    """As for onnx and ONNX Runtime; a tensor without one is there all the same."""
    twice, never = elsewhere("a", "first.bin"), elsewhere("b", "")
    twice.external_data.add(key="location", value="last.bin")
    del never.external_data[:]
    assert read(with_initializers(twice, never).SerializeToString()).external == ("last.bin", "")


def test_a_model_without_a_graph(read):
    """It is read, as an empty file is."""
    assert not read(b"").model.HasField("graph")
    assert read(onnx.ModelProto(ir_version=8).SerializeToString()).model.ir_version == 8


def test_little_memory_and_time_for_300_mb(tmp_path):
    """2000 tensors in 300 MB, read ten times in a process of its own."""
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
from generator.onnx_header import read_header

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


def test_every_length_of_a_file_cut_short(tmp_path):
    """It is read where protobuf reads it, between two fields, and refused everywhere else."""
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


def test_2000_files_with_wrong_bytes(read):
    """Up to four bytes changed in each: a header, or the one refusal."""
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
def test_what_is_refused(read, content, why):
    """Each in its own words."""
    assert unreadable(read, content) == why


def test_graphs_in_graphs_up_to_a_depth(read):
    """Twenty are read."""
    assert read(nested(20)).model == onnx.ModelProto.FromString(nested(20))


def test_two_gigabytes_of_zeros(tmp_path):
    """They are refused at the first."""
    path = tmp_path / "zeros.onnx"
    path.touch()
    os.truncate(path, 1 << 31)
    begin = time.perf_counter()
    with pytest.raises(HeaderUnreadable, match=f"{BROKEN} 0"):
        read_header(path)
    assert time.perf_counter() - begin < SECONDS


def test_two_gigabytes_of_weights(tmp_path):
    """More than protobuf itself would read."""
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
    """A folder, and a pipe to which nobody writes."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HeaderUnreadable, match="it is a folder"):
        read_header(tmp_path)
    with pytest.raises(HeaderUnreadable, match="it is no regular file"):
        read_header(tmp_path / "pipe")


def test_no_file(tmp_path):
    """What the system says of it stays."""
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "model.onnx")


@pytest.mark.parametrize(("content", "at"), [(b"\x12\x02ab", 4), (b"\x12\x04ab", 0), (b"\x12", 0), (b"", 0)])
def test_a_file_that_shrinks_meanwhile(monkeypatch, read, content, at):
    """It is cut short, and this process goes on."""
    monkeypatch.setattr(onnx_header.os, "fstat", lambda _: SimpleNamespace(st_size=6))
    assert unreadable(read, content) == f"{BROKEN} {at}"
