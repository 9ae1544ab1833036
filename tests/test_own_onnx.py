"""Users' ONNX files: reading, external data, versions and types."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import onnx_model
from onnx import TensorProto, helper
from own_onnx import MATRIX, assert_product, config, linear, provenance, relu, rows, served
from tritonclient.grpc.model_config_pb2 import DataType

import tritongen
from generator.errors import BadValue, NotServable, OnnxUnreadable
from generator.graph import load
from generator.graph.datatypes import TYPES, numpy_type

DATATYPES = [name.removeprefix("TYPE_").lower() for name in TYPES]


def with_data(entries):
    """Return a product with a matrix in an external file with these entries."""
    model = linear()
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_missing_file(tmp_path):
    """A file that does not exist is a usage error."""
    with pytest.raises(BadValue, match=r"model\.onnx: there is no such file"):
        tritongen.build(tritongen.onnx_network(tmp_path / "model.onnx"), output=tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("folder", "it is a folder"),
        (b"", "it holds no graph"),
        (b"a line of text\n", "it is not a protobuf of a model, or it is cut short"),
        (relu(["N", 3]).SerializeToString()[:-9], "it is not a protobuf of a model, or it is cut short"),
        (onnx.ModelProto(ir_version=8, producer_name="nobody").SerializeToString(), "it holds no graph"),
        (onnx.numpy_helper.from_array(MATRIX).SerializeToString(), "it "),
    ],
)
def test_invalid_files(build, content, why):
    """The error is one sentence, and no repository is created."""
    if content == "folder":
        Path("model.onnx").mkdir()
    with pytest.raises(OnnxUnreadable, match=rf"^model.onnx cannot be used: {why}"):
        build(content if isinstance(content, bytes) else None)
    assert not Path("model_repository").exists()


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"location": "/etc/passwd"}, "the data of 'w' lie outside its folder, at '/etc/passwd'"),
        ({"location": "../w.bin"}, "the data of 'w' lie outside its folder, at '../w.bin'"),
        ({"location": "below/../w.bin"}, "the data of 'w' lie outside its folder, at 'below/../w.bin'"),
        ({"location": "out.bin"}, "the data of 'w' lie outside its folder, at 'out.bin'"),
        ({"location": ""}, "the data of 'w' lie outside its folder, at ''"),
        ({"offset": "0"}, "the data of 'w' lie outside its folder, at ''"),
        ({"location": "nosuch.bin"}, "there is no file 'nosuch.bin' with the data of 'w'"),
        ({"location": "below"}, "there is no file 'below' with the data of 'w'"),
        ({"location": "model.onnx"}, "there is no file 'model.onnx' with the data of 'w'"),
        ({"location": "loop.bin"}, "there is no file 'loop.bin' with the data of 'w'"),
        ({"location": "a\0b"}, r"there is no file 'a\\x00b' with the data of 'w'"),
        ({"location": "\x1b[2Jw"}, r"there is no file '\\x1b\[2Jw' with the data of 'w'"),
        ({"location": "l" * 5000}, "there is no file 'l{59}…' with the data of 'w'"),
        ({"location": "w.bin", "offset": "1"}, "ONNX Runtime refuses it"),
        ({"location": "w.bin", "offset": "1", "length": "24"}, "'w.bin' is too short for the data of 'w'"),
        ({"location": "w.bin", "length": "12"}, "ONNX Runtime refuses it"),
        ({"location": "w.bin", "offset": "-4", "length": "24"}, "the place of the data of 'w' is no number from 0"),
        ({"location": "w.bin", "offset": "0x0"}, "the place of the data of 'w' is no number from 0"),
        ({"location": "w.bin", "offset": "0", "length": "2_4"}, "the place of the data of 'w' is no number from 0"),
    ],
)
def test_invalid_external_data(build, tmp_path, entries, why):
    """The error is one sentence, and no repository is created."""
    (tmp_path / "work" / "below").mkdir(parents=True)
    os.chdir("work")
    for path in ("w.bin", "../w.bin"):
        Path(path).write_bytes(MATRIX.tobytes())
    Path("out.bin").symlink_to("../w.bin")
    Path("loop.bin").symlink_to("loop.bin")
    with pytest.raises(OnnxUnreadable, match=rf"^model.onnx cannot be used: {why}") as raised:
        build(with_data(entries))
    assert "\n" not in str(raised.value)
    assert str(raised.value).isprintable()
    assert not Path("model_repository").exists()


@pytest.mark.parametrize("place", ["branch", "function"])
@pytest.mark.parametrize("location", ["/etc/passwd", "w.bin"])
def test_external_data_of_subgraphs(build, place, location):
    """Constants in branches and functions are checked and embedded like others."""
    (outside,) = with_data({"location": location}).graph.initializer
    constant = helper.make_node("Constant", [], ["inner"], value=outside)
    product = helper.make_node("MatMul", ["x", "inner"], ["product"])
    model = linear()
    del model.graph.initializer[:]
    model.graph.node[0].CopyFrom(helper.make_node("Product", ["x"], ["y"], domain="mine"))
    model.opset_import.add(domain="mine", version=1)
    if place == "function":
        imports = [helper.make_opsetid("", 18)]
        model.functions.append(
            helper.make_function("mine", "Product", ["x"], ["product"], [constant, product], imports)
        )
    else:
        end = helper.make_tensor_value_info("product", TensorProto.FLOAT, ["N", 2])
        branch = helper.make_graph([constant, product], "branch", [], [end])
        model.graph.node[0].CopyFrom(helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.bool_), "always"))
    Path("w.bin").write_bytes(MATRIX.tobytes())
    if location == "w.bin":
        x = rows(2, 3)
        assert_product(served(build(model)).run(None, {"x": x})[0], x, MATRIX)
    else:
        with pytest.raises(OnnxUnreadable, match="the data of 'w' lie outside its folder, at '/etc/passwd'"):
            build(model)


def test_error_on_the_command_line(tritongen, tmp_path):
    """Exit status 1, one sentence, and nothing is written."""
    (tmp_path / "mine.onnx").write_bytes(with_data({"location": "/etc/passwd"}).SerializeToString())
    ran = tritongen("build", "--onnx", "mine.onnx")
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.splitlines() == [
        "mine: failed",
        "error: mine.onnx cannot be used: the data of 'w' lie outside its folder, at '/etc/passwd'",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]


@pytest.mark.parametrize("layout", ["beside", "below", "links"])
def test_external_data_are_embedded(build, layout):
    """One file is published for data beside, below, or behind links as in the hub's cache."""
    below = Path("snapshot" if layout == "links" else "data")
    below.mkdir()
    file, location = {
        "beside": ("mine.onnx", "w.bin"), "below": ("mine.onnx", "data/w.bin"), "links": ("snapshot/mine.onnx", "w.bin"),
    }[layout]  # fmt: skip
    (Path(file).parent / location).write_bytes(b"....." + MATRIX.tobytes() + b"..")
    Path(file).write_bytes(with_data({"location": location, "offset": "5", "length": "24"}).SerializeToString())
    if layout == "links":
        Path("blobs").mkdir()
        for path in (below / "mine.onnx", below / "w.bin"):
            path.rename(Path("blobs") / path.name)
            path.symlink_to(Path("../blobs") / path.name)
    built = build(None, file=file)
    assert [path.name for path in (built.folder / "1").iterdir()] == ["model.onnx"]
    x = rows(5, 3)
    assert_product(served(built).run(None, {"x": x})[0], x, MATRIX)


def test_external_data_too_large_to_embed(build, monkeypatch):
    """Large external data are published beside the unchanged graph and recorded with the reason."""
    monkeypatch.setattr(load, "IN_MEMORY_BYTES", 1000)
    weight = rows(30, 20)
    Path("data").mkdir()
    Path("data/w.bin").write_bytes(weight.tobytes())
    model = with_data({"location": "data/w.bin"})
    model.graph.initializer[0].dims[:] = weight.shape
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 30
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 20
    built = build(model)
    x = rows(3, 30)
    Path("data/w.bin").unlink()  # the repository does without it
    assert_product(served(built).run(None, {"x": x})[0], x, weight)
    assert (built.folder / "1/data/w.bin").read_bytes() == weight.tobytes()
    assert built.size_bytes > weight.nbytes
    record = provenance(built)
    assert {"1/model.onnx", "1/data/w.bin"} <= set(record["blake3"])
    assert record["graph"]["unsimplified"] == "its data are too large for onnxsim"
    assert config(built).max_batch_size == 8


@pytest.mark.parametrize("rows_given", ["N", 4])
def test_batch_of_a_large_model(build, monkeypatch, rows_given):
    """A dynamic batch is used; a fixed one stays, since a large graph is not analysed."""
    monkeypatch.setattr(load, "IN_MEMORY_BYTES", 10)
    Path("w.bin").write_bytes(MATRIX.tobytes())
    model = with_data({"location": "w.bin"})
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        if rows_given != "N":
            dim.dim_value = rows_given
    built = build(model)
    assert config(built).max_batch_size == (8 if rows_given == "N" else 0)
    assert provenance(built)["graph"]["unbatched"] == (
        None if rows_given == "N" else "its data are too large to be looked at"
    )


@pytest.mark.parametrize("location", ["model.onnx", "./model.onnx", "model.onnx/w.bin"])
def test_external_data_named_like_the_graph(build, monkeypatch, location):
    """A graph cannot have the name of its own data."""
    monkeypatch.setattr(load, "IN_MEMORY_BYTES", 10)
    if location.endswith("bin"):
        Path("model.onnx").mkdir()
    Path(location).write_bytes(MATRIX.tobytes())
    with pytest.raises(OnnxUnreadable, match="and the graph is to have that name"):
        build(with_data({"location": location}), file="mine.onnx")


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (13, 7), (18, 8), (21, 10), (22, 10), (23, 11), (25, 13)])
def test_versions(build, opset, ir_version):
    """The opset is lowered to that of Triton 24.05; the IR version is at least 8."""
    built = build(relu(["N", 3], opset=opset, ir_version=ir_version))
    graph = provenance(built)["graph"]
    assert graph["opset"]["ai.onnx"] <= 21
    assert 8 <= graph["ir_version"] <= 10
    x = rows(3, 3)
    assert (served(built).run(None, {"x": x})[0] == np.maximum(x, 0)).all()


def test_opset_that_cannot_be_lowered(build):
    """An operator of a newer opset is refused, with the opset to export with."""
    model = onnx_model(
        [("RMSNormalization", ["x", "scale"], ["y"])],
        {"x": ["fp32", "N", 3]},
        {"y": ["fp32", "N", 3]},
        {"scale": np.ones(3, np.float32)},
        opset=23,
        ir_version=11,
    )
    with pytest.raises(OnnxUnreadable, match=r"its opset 23 is newer than the 21 that Triton 24.05 reads") as raised:
        build(model)
    assert raised.value.hint == "export it with opset 21"


def test_weights_that_are_inputs_too(build):
    """Inputs with a default, as before IR 4, are removed."""
    model = linear(opset=9, ir_version=3)
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 2]))
    assert [entry.name for entry in config(build(model)).input] == ["x"]


@pytest.mark.parametrize("kind", ["sequence", "map", "optional"])
def test_values_that_are_no_tensors(build, kind):
    """The error names the value and the remedy; scikit-learn classifiers have such outputs."""
    if kind == "map":
        iris = Path(find_spec("onnxruntime").origin).parent / "datasets" / "logreg_iris.onnx"
        model = onnx.load(iris)
    else:
        operator = {"sequence": "SequenceConstruct", "optional": "Optional"}[kind]
        model = onnx_model([(operator, ["x"], ["y"])], {"x": ["fp32", "N", 3]}, {"y": ["fp32", "N", 3]})
        tensor_type = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 3])
        wrapped = getattr(helper, f"make_{kind}_type_proto")(tensor_type)
        model.graph.output[0].CopyFrom(helper.make_value_info("y", wrapped))
    with pytest.raises(NotServable, match=r"^model cannot be served: its output '\w+' is a [so]\w+") as raised:
        build(model)
    assert raised.value.hint == "export it without that output; sklearn-onnx does with options={'zipmap': False}"


@pytest.mark.parametrize("end", ["input", "output"])
def test_bfloat16(build, end):
    """Triton's ONNX Runtime backend does not serve it."""
    model = onnx_model(
        [("Cast", ["x"], ["y"], {"to": TensorProto.BFLOAT16 if end == "output" else TensorProto.FLOAT})],
        {"x": ["fp32", "N", 3]},
        {"y": ["fp32", "N", 3]},
    )
    getattr(model.graph, end)[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    with pytest.raises(NotServable, match=f"its {end} '[xy]' has a type that Triton's ONNX Runtime backend does not"):
        build(model)


@pytest.mark.parametrize("given", ["N", 1, 4])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_type(build, datatype, given):
    """Inputs and outputs of every type, with a dynamic or fixed batch, are served unchanged."""
    ends = {"x": [datatype, given, 2, 3]}, {"y": [datatype, given, 2, 3]}
    built = build(onnx_model([("Identity", ["x"], ["y"])], *ends))
    written = config(built)
    assert written.max_batch_size == 8
    for (entry,), name in ((written.input, "x"), (written.output, "y")):
        assert (entry.name, DataType.Name(entry.data_type), list(entry.dims)) == (
            name, f"TYPE_{datatype.upper()}", [2, 3],
        )  # fmt: skip
    x = (np.arange(18) % 2).reshape(3, 2, 3)
    x = x.astype(str).astype(np.object_) if datatype == "string" else x.astype(numpy_type(f"TYPE_{datatype.upper()}"))
    (y,) = served(built).run(None, {"x": x})
    assert (y == x).all()


@pytest.mark.parametrize("given", ["N", 1])
def test_fp16_network(build, given):
    """A deep FP16 network is verified despite its rounding."""
    draw = np.random.default_rng(0)
    weights = {f"w{i}": (draw.standard_normal((64, 64)) / 8).astype(np.float16) for i in range(12)}
    nodes = [("MatMul", [f"x{i}" if i else "x", f"w{i}"], [f"x{i + 1}" if i < 11 else "y"]) for i in range(12)]
    built = build(onnx_model(nodes, {"x": ["fp16", given, 64]}, {"y": ["fp16", given, 64]}, weights))
    assert config(built).max_batch_size == 8
    assert max(batch.relative_error for batch in built.certificate.batches) < 1e-6


def test_scalars(build):
    """A scalar has dims [ 1 ] without batch; in a batch it is reshaped."""
    model = onnx_model([("Neg", ["x"], ["y"])], {"x": ["fp32"]}, {"y": ["fp32"]})
    built = build(model, file="one.onnx")
    assert (config(built).max_batch_size, list(config(built).input[0].dims)) == (0, [1])
    assert built.signature.unbatched == "'x' has no batch dimension: its shape is []"
    many = config(build(onnx_model([("Neg", ["x"], ["y"])], {"x": ["fp32", "N"]}, {"y": ["fp32", "N"]})))
    assert (many.max_batch_size, list(many.input[0].dims), many.input[0].HasField("reshape")) == (8, [1], True)


def test_an_input_without_a_shape(build):
    """An input without a shape is refused."""
    model = relu(["N", 3])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(NotServable, match="its input 'x' is of any number of dimensions"):
        build(model)


def test_unused_input(build):
    """An unused input stays in the config, so that requests with it succeed."""
    model = relu(["N", 3])
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("spare", TensorProto.INT64, ["N", 2]))
    built = build(model)
    assert [entry.name for entry in config(built).input] == [value.name for value in served(built).get_inputs()]
