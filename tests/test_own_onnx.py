"""ONNX files of the user's own: what is read, what is refused and how, what is published."""

import json
import os
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from helpers import onnx_model
from onnx import TensorProto, helper
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

import generator
from generator import onnx_file
from generator.datatypes import TYPES, numpy_type
from generator.errors import BadOption, NotServable, OnnxUnreadable

DATATYPES = [name.removeprefix("TYPE_").lower() for name in TYPES]
MATRIX = np.arange(6, dtype=np.float32).reshape(3, 2)


def relu(shape, name="x", **options):
    """One operator."""
    return onnx_model([("Relu", [name], ["y"])], {name: ["fp32", *shape]}, {"y": ["fp32", *shape]}, **options)


def linear(**options):
    """[N,3] by a constant matrix."""
    return onnx_model(
        [("MatMul", ["x", "w"], ["y"])], {"x": ["fp32", "N", 3]}, {"y": ["fp32", "N", 2]}, {"w": MATRIX}, **options
    )


def centred(rows):
    """Less the mean of the batch."""
    return onnx_model(
        [("ReduceMean", ["x", "axes"], ["mean"]), ("Sub", ["x", "mean"], ["y"])],
        {"x": ["fp32", rows, 3]},
        {"y": ["fp32", rows, 3]},
        {"axes": np.array([0])},
    )


def with_data(entries):
    """[N,3] by a matrix that lies in another file, at the place that these entries say."""
    model = linear()
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


@pytest.fixture(name="build")
def _build(tmp_path, monkeypatch):
    """Build a graph as a file of its own would be; what was built, or what was said."""
    monkeypatch.chdir(tmp_path)

    def build(model, *inputs, file="model.onnx", **options):
        if model is not None:
            Path(file).write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        report = generator.build(generator.onnx_network(file, options.pop("name", None), inputs), **options)
        if report.failed:
            raise next(iter(report.failed.values()))
        return report.built[0]

    return build


def config(built):
    """What Triton reads."""
    return text_format.Parse((built.folder / "config.pbtxt").read_text(), ModelConfig())


def provenance(built):
    """What made it."""
    return json.loads((built.folder / "provenance.json").read_text())


def served(built):
    """A session on what was published."""
    return onnxruntime.InferenceSession(built.folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def rows(*shape):
    """Noise."""
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def test_what_is_not_there(tmp_path):
    """A wrong call: nothing is begun."""
    with pytest.raises(BadOption, match=r"model\.onnx: there is no such file"):
        generator.build(generator.onnx_network(tmp_path / "model.onnx"), output=tmp_path / "repository")
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
def test_what_is_no_model(build, content, why):
    """One sentence each; no repository is made."""
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
def test_external_data_that_are_not_taken(build, tmp_path, entries, why):
    """One sentence each; no repository is made."""
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
def test_external_data_of_inner_graphs(build, place, location):
    """A constant in a branch of an If, or in a function of the model, is looked at as any other, and folded in."""
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
        np.testing.assert_allclose(served(build(model)).run(None, {"x": x})[0], x @ MATRIX, rtol=1e-6)
    else:
        with pytest.raises(OnnxUnreadable, match="the data of 'w' lie outside its folder, at '/etc/passwd'"):
            build(model)


def test_a_refusal_on_the_command_line(tritongen, tmp_path):
    """Exit status 1, the sentence, nothing else written."""
    (tmp_path / "mine.onnx").write_bytes(with_data({"location": "/etc/passwd"}).SerializeToString())
    ran = tritongen("build", "--onnx", "mine.onnx")
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.splitlines() == [
        "mine: failed",
        "error: mine.onnx cannot be used: the data of 'w' lie outside its folder, at '/etc/passwd'",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]


@pytest.mark.parametrize("layout", ["beside", "below", "links"])
def test_external_data_are_folded_in(build, layout):
    """One file is published, whether the data lay beside, below, or both behind links as in the hub's cache."""
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
    np.testing.assert_allclose(served(built).run(None, {"x": x})[0], x @ MATRIX, rtol=1e-6)


def test_data_too_large_to_fold_in(build, monkeypatch):
    """They are published beside the graph, recorded, and found there; the graph is as it was, and says why."""
    monkeypatch.setattr(onnx_file, "IN_MEMORY_BYTES", 1000)
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
    np.testing.assert_allclose(served(built).run(None, {"x": x})[0], x @ weight, rtol=1e-4, atol=1e-5)
    assert (built.folder / "1/data/w.bin").read_bytes() == weight.tobytes()
    assert built.size_bytes > weight.nbytes
    record = provenance(built)
    assert {"1/model.onnx", "1/data/w.bin"} <= set(record["sha256"])
    assert record["graph"]["unsimplified"] == "its data are too large for onnxsim"
    assert config(built).max_batch_size == 8


@pytest.mark.parametrize("rows_given", ["N", 4])
def test_a_large_model_with_a_batch_of_its_own(build, monkeypatch, rows_given):
    """An open batch is one; a fixed one stays, since nobody looks at such a graph."""
    monkeypatch.setattr(onnx_file, "IN_MEMORY_BYTES", 10)
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
def test_large_data_in_the_way_of_the_graph(build, monkeypatch, location):
    """A graph cannot be published under the name of its own data."""
    monkeypatch.setattr(onnx_file, "IN_MEMORY_BYTES", 10)
    if location.endswith("bin"):
        Path("model.onnx").mkdir()
    Path(location).write_bytes(MATRIX.tobytes())
    with pytest.raises(OnnxUnreadable, match="and the graph is to have that name"):
        build(with_data({"location": location}), file="mine.onnx")


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (13, 7), (18, 8), (21, 10), (22, 10), (23, 11), (25, 13)])
def test_versions(build, opset, ir_version):
    """What is too new for Triton 24.05 is brought down, and no IR is older than constants that are no inputs."""
    built = build(relu(["N", 3], opset=opset, ir_version=ir_version))
    graph = provenance(built)["graph"]
    assert graph["opset"]["ai.onnx"] <= 21
    assert 8 <= graph["ir_version"] <= 10
    x = rows(3, 3)
    assert (served(built).run(None, {"x": x})[0] == np.maximum(x, 0)).all()


def test_an_opset_that_cannot_be_brought_down(build):
    """An operator that did not exist then: refused, with the opset to export with."""
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
    """As files before IR 4 have them: what requests fill is left."""
    model = linear(opset=9, ir_version=3)
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 2]))
    assert [entry.name for entry in config(build(model)).input] == ["x"]


@pytest.mark.parametrize("kind", ["sequence", "map", "optional"])
def test_values_that_are_no_tensors(build, kind):
    """Named, with what to do; a classifier of scikit-learn is such a file."""
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
    """Triton's ONNX Runtime backend has no such type."""
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
    """In and out, the batch open or fixed: in the config and in the graph the same, and the values come through."""
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
def test_a_network_in_half_precision(build, given):
    """Deep enough for its roundings to be seen; its rows are the file's own, to the bit."""
    draw = np.random.default_rng(0)
    weights = {f"w{i}": (draw.standard_normal((64, 64)) / 8).astype(np.float16) for i in range(12)}
    nodes = [("MatMul", [f"x{i}" if i else "x", f"w{i}"], [f"x{i + 1}" if i < 11 else "y"]) for i in range(12)]
    built = build(onnx_model(nodes, {"x": ["fp16", given, 64]}, {"y": ["fp16", given, 64]}, weights))
    assert config(built).max_batch_size == 8
    assert max(batch.relative_error for batch in built.certificate.batches) < 1e-6


def test_scalars(build):
    """One number in, one out: dims [ 1 ] in the config, no batch; a batch of scalars is reshaped."""
    model = onnx_model([("Neg", ["x"], ["y"])], {"x": ["fp32"]}, {"y": ["fp32"]})
    built = build(model, file="one.onnx")
    assert (config(built).max_batch_size, list(config(built).input[0].dims)) == (0, [1])
    assert built.signature.unbatched == "'x' has no batch dimension: its shape is []"
    many = config(build(onnx_model([("Neg", ["x"], ["y"])], {"x": ["fp32", "N"]}, {"y": ["fp32", "N"]})))
    assert (many.max_batch_size, list(many.input[0].dims), many.input[0].HasField("reshape")) == (8, [1], True)


def test_an_input_without_a_shape(build):
    """It could be anything."""
    model = relu(["N", 3])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(NotServable, match="its input 'x' is of any number of dimensions"):
        build(model)


def test_an_input_that_nothing_reads(build):
    """It stays: whoever sends it is not refused."""
    model = relu(["N", 3])
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("spare", TensorProto.INT64, ["N", 2]))
    built = build(model)
    assert [entry.name for entry in config(built).input] == [value.name for value in served(built).get_inputs()]


SEVERAL = onnx_model(
    [("Relu", ["x"], ["a"]), ("Neg", ["z"], ["b"])],
    {"x": ["fp32", "N", "L"], "z": ["int64", "N", "L", 2]},
    {"a": ["fp32", "N", "L"], "b": ["int64", "N", "L", 2]},
)


@pytest.mark.parametrize(
    ("model", "hints"),
    [
        (relu(["N", 3, "H", "W"]), ["x:3x224x224"]),
        (relu(["N", "H", 3], name="images:0"), ["images:0:224x3"]),
        (relu(["N", "L"], name="a b"), ["a b:224"]),
        (relu(["N", "L"], name="rows/7:float32"), ["rows/7:float32:224"]),
        (centred("N"), ["x:1x3"]),
        (SEVERAL, ["x:224", "z:224x2"]),
    ],
    ids=["picture", "colon", "space", "type in the name", "no batch", "several"],
)
def test_open_dimensions(build, model, hints):
    """They must be said; the hint says how, and its line, as it is, is enough."""
    inputs = []
    for hint in hints:
        with pytest.raises(BadOption, match=r"leaves a dimension open") as raised:
            build(model, *inputs)
        assert not Path("model_repository").exists()
        words = shlex.split(raised.value.hint.partition("such as ")[2])
        assert words == ["--input", hint]
        inputs.append(words[1])
    built = build(model, *inputs)
    assert all(dim > 0 for entry in config(built).input for dim in entry.dims)
    assert all(isinstance(dim, int) for value in served(built).get_inputs() for dim in value.shape[1:])


def test_open_dimensions_on_the_command_line(tritongen, tmp_path):
    """Exit status 2 with the hint; the hint's line builds it."""
    (tmp_path / "mine.onnx").write_bytes(relu(["N", 3, "H"], name="images:0").SerializeToString())
    refused = tritongen("build", "--onnx", "mine.onnx")
    error, hint = refused.stderr.splitlines()[-2:]
    assert refused.status == 2
    assert error == "error: --onnx mine.onnx: its input 'images:0' [3,?] leaves a dimension open"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]
    ran = tritongen("build", "--onnx", "mine.onnx", *shlex.split(hint.partition("such as ")[2]), "--json")
    assert ran.status == 0, ran.stderr
    (model,) = ran.json["models"]
    assert (model["model"], model["unbatched"]) == ("mine", None)


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        (relu(["N", 3]), ["z:3"], "--input z: the inputs are x"),
        (relu(["N", 3]), ["x:3x3x3"], "--input x:3x3x3: 'x' has 2 dimensions"),
        (relu(["N", 3, "H", "W"]), ["x:3x3"], "--input x:3x3: 'x' has 4 dimensions"),
        (relu(["N", 3, "H"]), ["x:4x5"], "--input x:4x5: dimension 1 of 'x' is 3 in the file"),
        (relu([2, 3]), ["x:4x3"], "--input x:4x3: dimension 0 of 'x' is 2 in the file"),
        (relu([]), ["x:3x3"], "--input x:3x3: 'x' has 0 dimensions"),
        (relu(["N", 3]), ["x:3", "x:4"], "--input x,x: each is given once, by its name"),
        (relu(["N", 3]), ["x:0"], r"--input x:0: it is not \[NAME:\]DIMS\[:TYPE\]"),
        (relu(["N", 3]), ["x:3:complex64"], r"--input x:3:complex64: it is not \[NAME:\]DIMS\[:TYPE\]"),
        (relu(["N", 3]), ["x:99999999999"], "--input x:99999999999: a dimension is too large"),
    ],
)
def test_inputs_that_do_not_fit(build, model, inputs, sentence):
    """The option, and what the file says."""
    with pytest.raises(BadOption, match=rf"^{sentence}"):
        build(model, *inputs)
    assert not Path("model_repository").exists()


def test_a_fixed_batch_becomes_a_dynamic_one(build):
    """Any number of rows is answered as the file answers them, four at a time."""
    model = onnx_model(
        [
            ("Reshape", ["x", "shape"], ["flat"]),
            ("MatMul", ["flat", "w"], ["scores"]),
            ("Softmax", ["scores"], ["y"], {"axis": 1}),
        ],
        {"x": ["fp32", 4, 3, 1]},
        {"y": ["fp32", 4, 2]},
        {"shape": np.array([4, 3]), "w": MATRIX},
    )
    built = build(model)
    assert (config(built).max_batch_size, list(config(built).input[0].dims)) == (8, [3, 1])
    assert provenance(built)["graph"]["unbatched"] is None
    assert [batch["batch_size"] for batch in provenance(built)["certificate"]["batches"]] == [1, 4, 8]
    x = rows(12, 3, 1)
    original = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    expected = np.concatenate([original.run(None, {"x": x[begin : begin + 4]})[0] for begin in (0, 4, 8)])
    for count in (1, 3, 12):
        np.testing.assert_allclose(served(built).run(None, {"x": x[:count]})[0], expected[:count], rtol=1e-5)


def test_a_fixed_batch_that_stays(tritongen, tmp_path):
    """Its rows mix: the node that mixes them stands in the summary and in provenance, and the config has no batch."""
    (tmp_path / "mine.onnx").write_bytes(centred(4).SerializeToString())
    ran = tritongen("build", "--onnx", "mine.onnx")
    assert ran.status == 0, ran.stderr
    folder = tmp_path / "model_repository" / "mine"
    reason = json.loads((folder / "provenance.json").read_text())["graph"]["unbatched"]
    assert reason.startswith("its batch stays 4: ReduceMean")
    assert f"mine: max_batch_size is 0: {reason}" in ran.stderr
    for path in (folder / "config.pbtxt", *(folder / "configs").iterdir()):
        written = text_format.Parse(path.read_text(), ModelConfig())
        assert (written.max_batch_size, list(written.input[0].dims)) == (0, [4, 3])
        assert not written.HasField("dynamic_batching")


X, Y = {"x": ["fp32", "N", 3]}, {"y": ["fp32", "N", 3]}
FIRST, LAST = np.array([0]), np.array([-1])
# Graphs with an open first dimension that is no batch, by how they mix its rows.
MIXERS = {
    "mean": centred("N"),
    "sum so far": onnx_model([("CumSum", ["x", "axis"], ["y"])], X, Y, {"axis": np.array(0)}),
    "sum to come": onnx_model([("CumSum", ["x", "axis"], ["y"], {"reverse": 1})], X, Y, {"axis": np.array(0)}),
    "turned round": onnx_model(
        [("Slice", ["x", "begin", "end", "axes", "step"], ["y"])],
        X, Y, {"begin": LAST, "end": np.array([-(2**31)]), "axes": FIRST, "step": LAST},
    ),
    "less the first": onnx_model(
        [("Gather", ["x", "first"], ["row"]), ("Sub", ["x", "row"], ["y"])], X, Y, {"first": FIRST}
    ),
    "by the largest": onnx_model([("ReduceMax", ["x"], ["most"]), ("Div", ["x", "most"], ["y"])], X, Y),
    "one row": onnx_model([("ReduceMean", ["x", "axes"], ["y"])], X, Y, {"axes": FIRST}),
    "quantised": onnx_model(
        [("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]), ("DequantizeLinear", ["q", "scale", "zero"], ["y"])],
        X, Y,
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", MIXERS.values(), ids=MIXERS)
def test_rows_that_depend_on_each_other(build, model):
    """No batch: the size must be said, and then it is the first dimension of the config."""
    with pytest.raises(BadOption, match="leaves a dimension open, and is not batched: "):
        build(model)
    built = build(model, "x:4x3")
    assert (config(built).max_batch_size, list(config(built).input[0].dims)) == (0, [4, 3])
    assert built.signature.unbatched


def test_a_batch_that_fails_beyond_two_rows(build):
    """Found when 4 and 8 are tried: not published, one sentence."""
    model = onnx_model(
        [("Shape", ["x"], ["shape"]), ("Gather", ["table", "shape"], ["row"]), ("Gather", ["row", "first"], ["one"]),
         ("Add", ["x", "one"], ["y"])],
        {"x": ["fp32", "N", 2]},
        {"y": ["fp32", "N", 2]},
        {"table": np.zeros(3, np.float32), "first": np.array([0])},
    )  # fmt: skip
    with pytest.raises(generator.errors.VerificationFailed, match="it does not answer batches of 1, 4, 8: "):
        build(model)
    assert not Path("model_repository").exists()


def test_two_builds_are_the_same_bytes(build, tmp_path):
    """Wherever the file lies."""
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        os.chdir(tmp_path / name)
        build(linear(), name="mine")
        files = [path for path in Path("model_repository").rglob("*") if path.is_file()]
        contents.append({str(path): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 7


@pytest.mark.parametrize(
    ("file", "name", "becomes"),
    [("Model.v2.onnx", None, "model.v2"), ("x.onnx", "My_Net-1", "my_net-1"), ("7.onnx", None, "7"),
     ("x.onnx", "a" * 128, "a" * 128)],
)  # fmt: skip
def test_names(build, file, name, becomes):
    """The file's unless one is given; in lower case."""
    built = build(relu(["N", 3]), file=file, name=name)
    assert (built.folder.name, config(built).name) == (becomes, becomes)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/tmp/x", ".hidden", "-x", "_x", "a b", "naïve", "a\n", "a\0", "a" * 129],
)
def test_names_that_are_no_folder(build, name):
    """Usage errors; nothing is written."""
    with pytest.raises(BadOption, match=r"^--name .+: letters, digits, '.', '_' and '-', beginning with") as raised:
        build(relu(["N", 3]), name=name)
    assert str(raised.value).isprintable()
    assert not Path("model_repository").exists()


@pytest.mark.parametrize("name", ["densenet121", "DPN92"])
def test_names_of_the_ten(tritongen, tmp_path, name):
    """They are taken; the hint has one that is free."""
    (tmp_path / "x.onnx").write_bytes(relu(["N", 3]).SerializeToString())
    ran = tritongen("build", "--onnx", "x.onnx", "--name", name)
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == [
        f"error: --name {name}: a network of tritongen's has that name",
        f"hint: such as --name my-{name}",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_a_file_whose_name_is_no_models(tritongen, tmp_path):
    """The way out is --name."""
    (tmp_path / "my model.onnx").write_bytes(relu(["N", 3]).SerializeToString())
    ran = tritongen("build", "--onnx", "my model.onnx")
    assert ran.status == 2
    assert ran.stderr.startswith("error: --name 'my model': letters, digits")


def test_what_cannot_go_together(tritongen):
    """Each option of one network, with what it does not go with."""
    for arguments, sentence in (
        ("--onnx a.onnx --models dpn68", "--models dpn68: a is built alone"),
        ("--onnx a.onnx --weights timm", "--weights timm: a brings its own"),
        ("--name a", "--name a: it goes with --onnx or --torch"),
        ("--input 3x4x4", "--input 3x4x4: it goes with --onnx or --torch"),
        ("--mean 0,0,0", "--mean, --std, --resize given: they go with --onnx or --torch"),
        ("--onnx a.onnx --mean 0,0", "'0,0' is not three numbers"),
    ):
        ran = tritongen("build", *arguments.split())
        assert ran.status == 2
        assert f"{sentence}" in ran.stderr


def test_a_normalisation_of_what_is_no_image(tritongen, tmp_path):
    """--mean without a picture to normalise."""
    (tmp_path / "mine.onnx").write_bytes(relu(["N", 3]).SerializeToString())
    ran = tritongen("build", "--onnx", "mine.onnx", "--mean", "0.5,0.5,0.5")
    assert ran.status == 2
    assert "error: --mean, --std, --resize given: no square RGB image goes into [3]" in ran.stderr


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("shape", [["N", 3, 8, 8], [1, 3, 8, 8], [4, 3, 8, 8], ["N", "H", 8, 3], [1, 8, "W", 3]])
@pytest.mark.parametrize("together", [True, False])
def test_a_normalisation_of_images(shape, together):
    """It is written wherever one picture goes in, channels first or last, whatever becomes of the batch."""
    nodes = [("CumSum", ["x", "axis"], ["y"])] if together else [("Relu", ["x"], ["y"])]
    model = onnx_model(nodes, {"x": ["fp32", *shape]}, {"y": ["fp32", *shape]}, {"axis": np.array(0)})
    Path("model.onnx").write_bytes(model.SerializeToString())
    dims = [8 if dim in ("H", "W") else dim for dim in shape]
    inputs = ["x".join(map(str, [1, *dims[1:]] if together and dims[0] == "N" else dims[1:]))]
    image = generator.ImageInput(mean=(0.1, 0.2, 0.3), resize_short_px=9)
    report = generator.build(generator.onnx_network("model.onnx", inputs=inputs, image=image))
    if together and dims[0] == 4:
        assert "no square RGB image goes into [4,3,8,8]" in str(report.failed["model"])
        return
    (built,) = report.built
    assert config(built).max_batch_size == (0 if together else 8)
    assert config(built).parameters["tritongen.mean"].string_value == "0.1,0.2,0.3"
    assert config(built).parameters["tritongen.resize_short_px"].string_value == "9"


def test_a_file_that_disagrees_with_itself_is_not_published(build, monkeypatch):
    """What is served is held to the file as given."""
    read = onnx_file.read

    def damaged(path, dims):
        exported = read(path, dims)
        exported.model.graph.initializer[0].raw_data = (MATRIX + 1).tobytes()
        return exported

    monkeypatch.setattr(onnx_file, "read", damaged)
    with pytest.raises(generator.errors.VerificationFailed, match="its answers differ from those of the file as given"):
        build(linear())
    assert not Path("model_repository").exists()


@pytest.mark.parametrize("shape", [[1, 5], [1, 5, 1, 1]])
def test_a_network_without_a_batch_has_labels_too(build, shape):
    """Its classes are the only length above 1; a batch of one that stays is no other number of them."""
    Path("five.txt").write_text("a\nb\nc\nd\ne\n")
    nodes = [("CumSum", ["x", "axis"], ["y"])]  # has no batch rule
    model = onnx_model(nodes, {"x": ["fp32", *shape]}, {"y": ["fp32", *shape]}, {"axis": np.array(1, np.int32)})
    built = build(model, labels="five.txt")
    assert "its batch stays 1" in built.signature.unbatched
    assert (built.folder / "labels.txt").read_text().split() == list("abcde")
    assert (built.certificate.worst.top1_agree, built.certificate.worst.top5_agree) == (1, None)
    assert built.certificate.worst.top5_flips is None
