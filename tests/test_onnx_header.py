"""What is read of an ONNX file without its weights."""

import numpy as np
import onnx
import pytest
from helpers import onnx_model, small_onnx
from onnx import TensorProto, helper
from onnx_bytes import (
    INPUT,
    OUTPUT,
    SMALL_BYTES,
    branches,
    constant,
    elsewhere,
    external,
    field,
    functions,
    sparse_tensors,
    tensor,
    with_nodes,
    without_data,
)

from generator.graph import header as onnx_header
from generator.graph.header import read_header


def with_initializers(*made):
    """An Identity, and tensors."""
    model = onnx_model([("Identity", ["x"], ["y"])], INPUT, OUTPUT)
    model.graph.initializer.extend(made)
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


MODELS = [small_onnx, raw, typed, constants, branches, functions, sparse_tensors, external, onnx.ModelProto]


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
