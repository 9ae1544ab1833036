"""Label files."""

import json

import pytest
from google.protobuf import text_format
from helpers import onnx_model
from tritonclient.grpc.model_config_pb2 import ModelConfig

from generator.errors import LabelsUnusable
from generator.imagenet import CLASS_NAMES, read_labels


@pytest.mark.parametrize("content", [b"cat\ndog\n", b"cat\r\ndog", b"cat\rdog", b"\xef\xbb\xbfcat\n  dog \n\n"])
def test_one_class_per_line(tmp_path, content):
    """Line ends, a byte order mark and blank ends do not matter."""
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt", 2) == b"cat\ndog\n"


@pytest.mark.parametrize(
    ("content", "classes", "why"),
    [
        (b"cat\ndog\n", 3, "it has 2 labels, but the output has 3 classes"),
        (b"cat\ndog\n", None, "the network has no single output with one float per class"),
        (b"cat\n\ndog\n", 3, "line 2 is empty or not printable"),
        (b"cat\n\x1b[31mdog\n", 2, "line 2 is empty or not printable"),
        (b"cat\nd\0g\n", 2, "line 2 is empty or not printable"),
        ("cat\nd\u202eog\n".encode(), 2, "line 2 is empty or not printable"),
        (b"", 2, "it has 0 labels, but the output has 2 classes"),
        (b"\xff\xfe\x00", 1, "it is not UTF-8 text"),
        ("kočka\npes\n".encode("latin2"), 2, "it is not UTF-8 text"),
    ],
)
def test_unusable_labels_are_refused(tmp_path, content, classes, why):
    """Each fault has its own message."""
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(LabelsUnusable, match=rf"labels\.txt cannot be used as labels: {why}"):
        read_labels(tmp_path / "labels.txt", classes)


def test_missing_file_is_refused(tmp_path):
    """The path does not exist, or is a folder."""
    with pytest.raises(LabelsUnusable, match="there is no such file"):
        read_labels(tmp_path / "labels.txt", 2)
    with pytest.raises(LabelsUnusable, match="is a directory"):
        read_labels(tmp_path, 2)


def test_imagenet_labels_are_unchanged():
    """The ten networks are published with the file as it is."""
    assert read_labels(CLASS_NAMES, 1000) == CLASS_NAMES.read_bytes()


SCORES = {"scores": ["fp32", "N", 2]}


@pytest.fixture(name="build")
def _build(tritongen, tmp_path):
    """Build a network with an input of two numbers, with labels."""

    def build(nodes, outputs, labels="kočka\nhot dog, hotdog\n"):
        model = onnx_model(nodes, {"x": ["fp32", "N", 2]}, outputs)
        (tmp_path / "mine.onnx").write_bytes(model.SerializeToString())
        (tmp_path / "classes.txt").write_text(labels)
        return tritongen("build", "--onnx", "mine.onnx", "--labels", "classes.txt")

    return build


def test_labels_are_published(build, tmp_path):
    """The labels are beside the config, named in each variant, and in the provenance."""
    ran = build([("Softmax", ["x"], ["scores"])], SCORES)
    assert ran.status == 0, ran.stderr
    folder = tmp_path / "model_repository" / "mine"
    assert (folder / "labels.txt").read_text() == "kočka\nhot dog, hotdog\n"
    configs = [folder / "config.pbtxt", *(folder / "configs").iterdir()]
    assert len(configs) == 5
    for path in configs:
        assert text_format.Parse(path.read_text(), ModelConfig()).output[0].label_filename == "labels.txt"
    assert "labels.txt" in json.loads((folder / "provenance.json").read_text())["blake3"]


@pytest.mark.parametrize(
    ("nodes", "outputs", "why"),
    [
        (
            [("Concat", ["x", "x"], ["y"], {"axis": 1})],
            {"y": ["fp32", "N", 4]},
            "it has 2 labels, but the output has 4",
        ),
        (
            [("ArgMax", ["x"], ["y"], {"axis": 1})],
            {"y": ["int64", "N", 1]},
            "the network has no single output with one",
        ),
        (
            [("Relu", ["x"], ["scores"]), ("Neg", ["x"], ["y"])],
            {**SCORES, "y": ["fp32", "N", 2]},
            "the network has no single output with one float per class",
        ),
    ],
)
def test_labels_that_do_not_fit_the_network(build, tmp_path, nodes, outputs, why):
    """The build exits with 1, an error and a hint, and publishes nothing."""
    ran = build(nodes, outputs)
    assert ran.status == 1
    assert f"error: classes.txt cannot be used as labels: {why}" in ran.stderr
    assert "hint: write one class per line, in the order of the output" in ran.stderr
    assert not (tmp_path / "model_repository").exists()


def test_own_network_has_no_default_labels(tritongen, tmp_path):
    """Even 1000 classes may differ from ImageNet's."""
    model = onnx_model([("Softmax", ["x"], ["y"])], {"x": ["fp32", "N", 1000]}, {"y": ["fp32", "N", 1000]})
    (tmp_path / "mine.onnx").write_bytes(model.SerializeToString())
    assert tritongen("build", "--onnx", "mine.onnx").status == 0
    assert not (tmp_path / "model_repository/mine/labels.txt").exists()
    assert "label_filename" not in (tmp_path / "model_repository/mine/config.pbtxt").read_text()
