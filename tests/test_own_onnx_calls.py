"""Users' ONNX files: names, combinations of options, and published models."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import onnx_model
from own_onnx import MATRIX, config, linear, relu

import tritongen
from generator.builder import build_model
from generator.errors import BadValue, VerificationFailed


def test_reproducible(build, tmp_path):
    """The bytes do not depend on the folder of the file."""
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
    """The name is that of the file in lower case, or the given one."""
    built = build(relu(["N", 3]), file=file, name=name)
    assert (built.folder.name, config(built).name) == (becomes, becomes)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/tmp/x", ".hidden", "-x", "_x", "a b", "naïve", "a\n", "a\0", "a" * 129],
)
def test_invalid_names(build, name):
    """Invalid names are usage errors, and nothing is written."""
    with pytest.raises(
        BadValue, match=r"^name=.+: must be letters, digits, '.', '_' and '-', and begin with"
    ) as raised:
        build(relu(["N", 3]), name=name)
    assert str(raised.value).isprintable()
    assert not Path("model_repository").exists()


@pytest.mark.parametrize("name", ["densenet121", "DPN92"])
def test_names_of_built_in_networks(tritongen, tmp_path, name):
    """Names of built-in networks are refused; the hint has a valid name."""
    (tmp_path / "x.onnx").write_bytes(relu(["N", 3]).SerializeToString())
    ran = tritongen("build", "--onnx", "x.onnx", "--name", name)
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == [
        f"error: --name {name}: a network of tritongen has this name",
        f"hint: try --name my-{name}",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_file_name_that_is_not_a_valid_name(tritongen, tmp_path):
    """The error names the option that sets a name."""
    (tmp_path / "my model.onnx").write_bytes(relu(["N", 3]).SerializeToString())
    ran = tritongen("build", "--onnx", "my model.onnx")
    assert ran.status == 2
    assert ran.stderr.startswith("error: --name 'my model': must be letters, digits")


def test_options_that_cannot_be_combined(tritongen):
    """The error names both options."""
    for arguments, sentence in (
        ("--onnx a.onnx --models dpn68", "--models and --onnx cannot be combined"),
        ("--onnx a.onnx --weights timm", "--weights timm: a has weights of its own"),
        ("--name a", "--name a: needs --onnx or --torch"),
        ("--input 3x4x4", "--input 3x4x4: needs --onnx or --torch"),
        ("--mean 0,0,0", "--mean 0.0,0.0,0.0: needs --onnx or --torch"),
        ("--onnx a.onnx --mean 0,0", "'0,0' is not three numbers"),
    ):
        ran = tritongen("build", *arguments.split())
        assert ran.status == 2
        assert f"{sentence}" in ran.stderr


def test_mean_without_an_image(tritongen, tmp_path):
    """--mean needs an image input."""
    (tmp_path / "mine.onnx").write_bytes(relu(["N", 3]).SerializeToString())
    ran = tritongen("build", "--onnx", "mine.onnx", "--mean", "0.5,0.5,0.5")
    assert ran.status == 2
    assert "error: --mean 0.5,0.5,0.5: no input takes a square RGB image: [3]" in ran.stderr


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("shape", [["N", 3, 8, 8], [1, 3, 8, 8], [4, 3, 8, 8], ["N", "H", 8, 3], [1, 8, "W", 3]])
@pytest.mark.parametrize("together", [True, False])
def test_mean_of_images(shape, together):
    """The mean is written for every single image input, channels first or last, with or without batch."""
    nodes = [("CumSum", ["x", "axis"], ["y"])] if together else [("Relu", ["x"], ["y"])]
    model = onnx_model(nodes, {"x": ["fp32", *shape]}, {"y": ["fp32", *shape]}, {"axis": np.array(0)})
    Path("model.onnx").write_bytes(model.SerializeToString())
    dims = [8 if dim in ("H", "W") else dim for dim in shape]
    inputs = ["x".join(map(str, [1, *dims[1:]] if together and dims[0] == "N" else dims[1:]))]
    image = tritongen.ImageInput(mean=(0.1, 0.2, 0.3), resize_short_px=9)
    report = tritongen.build(tritongen.onnx_network("model.onnx", inputs=inputs, image=image))
    if together and dims[0] == 4:
        assert "no input takes a square RGB image: [4,3,8,8]" in str(report.failed["model"])
        return
    (built,) = report.built
    assert config(built).max_batch_size == (0 if together else 8)
    assert config(built).parameters["tritongen.mean"].string_value == "0.1,0.2,0.3"
    assert config(built).parameters["tritongen.resize_short_px"].string_value == "9"


def test_damaged_graph_is_not_published(build, monkeypatch):
    """The published graph is compared with the given file."""
    read = build_model.read_onnx

    def damaged(path, dims):
        exported = read(path, dims)
        exported.model.graph.initializer[0].raw_data = (MATRIX + 1).tobytes()
        return exported

    monkeypatch.setattr(build_model, "read_onnx", damaged)
    with pytest.raises(VerificationFailed, match="its answers differ from those of the file as given"):
        build(linear())
    assert not Path("model_repository").exists()


@pytest.mark.parametrize("shape", [[1, 5], [1, 5, 1, 1]])
def test_labels_without_a_batch(build, shape):
    """The number of classes is the only length above 1, also with a fixed batch of 1."""
    Path("five.txt").write_text("a\nb\nc\nd\ne\n")
    nodes = [("CumSum", ["x", "axis"], ["y"])]  # has no batch rule
    model = onnx_model(nodes, {"x": ["fp32", *shape]}, {"y": ["fp32", *shape]}, {"axis": np.array(1, np.int32)})
    built = build(model, labels="five.txt")
    assert "its batch stays 1" in built.signature.unbatched
    assert (built.folder / "labels.txt").read_text().split() == list("abcde")
    assert (built.certificate.worst.top1_agree, built.certificate.worst.top5_agree) == (1, None)
    assert built.certificate.worst.top5_flips is None


def test_a_folder_of_files(tritongen, tmp_path):
    """The models are in the order of their names, and an invalid file does not stop the others."""
    (tmp_path / "files").mkdir()
    for name in ("b", "a", "c"):
        (tmp_path / "files" / f"{name}.onnx").write_bytes(linear().SerializeToString())
    (tmp_path / "files" / "notes.txt").write_text("not one of them")
    (tmp_path / "d.onnx").write_bytes(b"\xff")
    ran = tritongen("build", "--onnx", "files", "--onnx", "d.onnx", "--json")
    assert ran.status == 1
    assert [model["model"] for model in ran.json["models"]] == ["a", "b", "c"]
    assert ran.json["failed"] == {"d": "d.onnx cannot be used: it is not a protobuf of a model, or it is cut short"}
    ran = tritongen("build", "--onnx", "files")
    assert ran.status == 0
    assert "3 verified in model_repository (3 up to date)" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--onnx files --name x", "--name x: needs exactly one network (2 selected)"),
        ("--onnx files --input 3", "--input 3: needs exactly one network (2 selected)"),
        ("--onnx files --labels l", "--labels l: needs exactly one network (2 selected)"),
        ("--onnx files --onnx files/a.onnx", "--name a: two networks have this name"),
        ("--onnx empty", "--onnx empty: has no .onnx file"),
    ],
)
def test_files_that_cannot_be_combined(tritongen, tmp_path, arguments, sentence):
    """The error is one sentence, and nothing is built."""
    for folder in ("files", "empty"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        (tmp_path / "files" / f"{name}.onnx").write_bytes(linear().SerializeToString())
    ran = tritongen("build", *arguments.split())
    assert (ran.status, ran.stderr.splitlines()[0]) == (2, f"error: {sentence}")
    assert not (tmp_path / "model_repository").exists()
