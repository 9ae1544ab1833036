"""Users' ONNX files: open dimensions, fixed batches, and dependent rows."""

import json
import shlex
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from helpers import assert_near, onnx_model
from own_onnx import MATRIX, config, provenance, relu, rows, served
from tritonclient.grpc.model_config_pb2 import ModelConfig

from generator.errors import BadValue, VerificationFailed


def centred(rows):
    """Return a model that subtracts the mean of the batch."""
    return onnx_model(
        [("ReduceMean", ["x", "axes"], ["mean"]), ("Sub", ["x", "mean"], ["y"])],
        {"x": ["fp32", rows, 3]},
        {"y": ["fp32", rows, 3]},
        {"axes": np.array([0])},
    )


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
    """Open dimensions must be set; the hint has the option that sets them."""
    inputs = []
    for hint in hints:
        with pytest.raises(BadValue, match=r"leaves a dimension open") as raised:
            build(model, *inputs)
        assert not Path("model_repository").exists()
        assert raised.value.hint == f"set it, such as `inputs={shlex.quote(hint)}`"
        inputs.append(hint)
    built = build(model, *inputs)
    assert all(dim > 0 for entry in config(built).input for dim in entry.dims)
    assert all(isinstance(dim, int) for value in served(built).get_inputs() for dim in value.shape[1:])


def test_open_dimensions_on_the_command_line(tritongen, tmp_path):
    """Exit status 2, and the option in the hint builds the model."""
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
        (relu(["N", 3]), ["z:3"], "inputs=z: the inputs are x"),
        (relu(["N", 3]), ["x:3x3x3"], "inputs=x:3x3x3: 'x' has 2 dimensions"),
        (relu(["N", 3, "H", "W"]), ["x:3x3"], "inputs=x:3x3: 'x' has 4 dimensions"),
        (relu(["N", 3, "H"]), ["x:4x5"], "inputs=x:4x5: dimension 1 of 'x' is 3 in the file"),
        (relu([2, 3]), ["x:4x3"], "inputs=x:4x3: dimension 0 of 'x' is 2 in the file"),
        (relu([]), ["x:3x3"], "inputs=x:3x3: 'x' has 0 dimensions"),
        (relu(["N", 3]), ["x:3", "x:4"], "inputs=x,x: an input is given twice"),
        (relu(["N", 3]), ["x:0"], r"inputs=x:0: not of the form \[NAME:\]DIMS\[:TYPE\]"),
        (relu(["N", 3]), ["x:3:complex64"], r"inputs=x:3:complex64: not of the form \[NAME:\]DIMS\[:TYPE\]"),
        (relu(["N", 3]), ["x:99999999999"], "inputs=x:99999999999: a dimension is too large"),
    ],
)
def test_inputs_that_do_not_match(build, model, inputs, sentence):
    """The error names the parameter and the dims in the file."""
    with pytest.raises(BadValue, match=rf"^{sentence}"):
        build(model, *inputs)
    assert not Path("model_repository").exists()


def test_fixed_batch_becomes_dynamic(build):
    """Any number of rows gives the answers of the file, which takes four at a time."""
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
        assert_near(served(built).run(None, {"x": x[:count]})[0], expected[:count])


def test_fixed_batch_stays(tritongen, tmp_path):
    """The summary and provenance name the node that mixes rows, and the config has no batch."""
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
def test_dependent_rows(build, model):
    """The model has no batch; its first dimension must be set and is in the config."""
    with pytest.raises(BadValue, match="leaves a dimension open, and is not batched: "):
        build(model)
    built = build(model, "x:4x3")
    assert (config(built).max_batch_size, list(config(built).input[0].dims)) == (0, [4, 3])
    assert built.signature.unbatched


def test_a_batch_that_fails_beyond_two_rows(build):
    """Batches of 4 and 8 fail, and the model is not published."""
    model = onnx_model(
        [("Shape", ["x"], ["shape"]), ("Gather", ["table", "shape"], ["row"]), ("Gather", ["row", "first"], ["one"]),
         ("Add", ["x", "one"], ["y"])],
        {"x": ["fp32", "N", 2]},
        {"y": ["fp32", "N", 2]},
        {"table": np.zeros(3, np.float32), "first": np.array([0])},
    )  # fmt: skip
    with pytest.raises(VerificationFailed, match="it does not answer batches of 1, 4, 8: "):
        build(model)
    assert not Path("model_repository").exists()
