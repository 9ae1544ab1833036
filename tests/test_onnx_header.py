"""Reading an ONNX file without its weights."""

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
    """Return a model with an Identity and initializers."""
    model = onnx_model([("Identity", ["x"], ["y"])], INPUT, OUTPUT)
    model.graph.initializer.extend(made)
    return model


def raw():
    """Return large and small tensors in raw_data."""
    return with_initializers(tensor("large"), tensor("small", 3), tensor("none", 0))


def typed():
    """Return tensors in the other data fields, one of strings."""
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
    """Return numbers written one by one, as old writers do."""
    return onnx.ModelProto.FromString(field(7, field(5, b"\x08\xac\x02\x10\x01" + b"\x25\0\0\x80\x3f" * 300)))


def constants():
    """Return large and small tensors in nodes, several in one attribute."""
    return with_nodes(
        constant("large", tensor("large")),
        constant("shape", tensor("small", 2)),
        helper.make_node("Many", [], ["m"], domain="own", tensors=[tensor("a"), tensor("b", 2), tensor("c")]),
        helper.make_node("Text", [], ["t"], domain="own", text="no tensor " * 1000, floats=[0.5] * 1000, i=-1),
    )


MODELS = [small_onnx, raw, typed, constants, branches, functions, sparse_tensors, external, onnx.ModelProto]


@pytest.mark.parametrize("build", [*MODELS, unpacked])
def test_equal_to_onnx_load(tmp_path, build):
    """Everything but the data of tensors equals onnx.load."""
    path = tmp_path / "model.onnx"
    path.write_bytes(build().SerializeToString())
    expected = without_data(onnx.load(path, load_external_data=False))
    assert read_header(path).model == expected
    assert all(each.ByteSize() <= SMALL_BYTES for each in onnx_header.tensors(expected))


@pytest.mark.parametrize("build", MODELS)
def test_header_is_a_valid_file(read, build):
    """A header that is written and read again is unchanged."""
    header = read(build().SerializeToString())
    assert read(header.model.SerializeToString()) == header


def test_split_fields_are_merged(read):
    """A graph in two pieces, as protobuf allows."""
    one, two = raw(), typed()
    header = read(one.SerializeToString() + two.SerializeToString())
    assert header.model == without_data(onnx.ModelProto.FromString(one.SerializeToString() + two.SerializeToString()))
    assert len(header.model.graph.initializer) == 10


def test_data_of_small_tensors_are_kept(read):
    """Tensors of up to 1024 bytes keep their data."""
    model = with_initializers(*(tensor("weight", count) for count in range(240, 270)))
    header = read(model.SerializeToString())
    assert header.model == without_data(model)
    assert len({each.HasField("raw_data") for each in header.model.graph.initializer}) == 2


@pytest.mark.parametrize("size", range(20, 60))
def test_fields_across_window_ends(monkeypatch, read, size):
    """A field may cross the end of a read."""
    monkeypatch.setattr(onnx_header, "WINDOW_BYTES", size)
    assert read(branches().SerializeToString()).model == without_data(branches())


def test_fields_of_a_wrong_type(read):
    """Fields of a wrong type or unknown number are treated as protobuf treats them."""
    content = b"\x38\x05" + b"\x10\x05" + field(1000, b"\xff") + b"\xf9\x3e" + bytes(8) + b"\x39" + b"\xff" * 8
    assert read(content).model == onnx.ModelProto.FromString(content)
    assert not read(content).model.HasField("graph")


def test_locations_in_order_of_first_use(read):
    """The graph's initializers, its nodes, then functions; only external data count."""
    found = read(external().SerializeToString()).external
    assert found == ("weights.bin", "more.bin", "sparse.bin", "node.bin", "branch.bin", "functions/f.bin")


def test_last_location_overrides(read):
    """A later location overrides, as in ONNX Runtime; a tensor without one has ""."""
    twice, never = elsewhere("a", "first.bin"), elsewhere("b", "")
    twice.external_data.add(key="location", value="last.bin")
    del never.external_data[:]
    assert read(with_initializers(twice, never).SerializeToString()).external == ("last.bin", "")


def test_a_model_without_a_graph(read):
    """A model without a graph, and an empty file, are read."""
    assert not read(b"").model.HasField("graph")
    assert read(onnx.ModelProto(ir_version=8).SerializeToString()).model.ir_version == 8
