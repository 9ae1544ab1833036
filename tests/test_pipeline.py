"""build(): failures of single steps, and checks before the first step."""

import json
import resource
from dataclasses import asdict

import pytest
import torch
from onnx import numpy_helper

import tritongen
from generator.builder import build_model, pipeline
from generator.config.types import ServingOptions
from generator.errors import BadValue, OutputFailed, UnknownName
from generator.graph import simplify
from generator.networks.architectures import DenseNetShape, DPNShape
from generator.networks.types import Network, Published
from generator.verify import references

PUBLISHED = Published(0.5, 0.9, 0.5, None, 1.0, 1.0)
TINY = (
    Network("tiny-densenet", "TinyDenseNet", DenseNetShape(8, 4, (1, 1, 1, 1)), PUBLISHED),
    Network("tiny-dpn", "TinyDPN", DPNShape(8, 3, 16, 8, 4, (1, 1, 1, 1), (4, 4, 4, 4)), PUBLISHED),
)


@pytest.fixture(autouse=True)
def _tiny_networks(monkeypatch):
    """Replace the built-in networks with two that build in a second."""
    monkeypatch.setattr("generator.networks.NETWORKS", TINY)


def test_build(tmp_path):
    """Both models are published with certificates in the order of the table, and every step is reported."""
    told = []
    report = tritongen.build(
        output=tmp_path / "repo", jobs=1, on_step=lambda network, step: told.append((network.name, step))
    )
    assert [model.network.name for model in report.built] == ["tiny-densenet", "tiny-dpn"]
    assert report.failed == {}
    assert told == [(name.name, step) for name in TINY for step in (*pipeline.STEPS, "published")]
    for model in report.built:
        assert sorted(str(path.relative_to(model.folder)) for path in model.folder.rglob("*") if path.is_file()) == [
            "1/model.onnx",
            "config.pbtxt",
            "configs/t4-fp16.pbtxt",
            "configs/t4-fp32.pbtxt",
            "configs/v100-fp16.pbtxt",
            "configs/v100-fp32.pbtxt",
            "labels.txt",
            "provenance.json",
        ]
        assert len((model.folder / "labels.txt").read_text().splitlines()) == 1000


def test_reproducible(tmp_path):
    """A repository does not depend on time, folder or machine."""
    contents = []
    for name in ("one", "two"):
        tritongen.build(output=tmp_path / name)
        contents.append(
            {
                path.relative_to(tmp_path / name): path.read_bytes()
                for path in (tmp_path / name).rglob("*.*")
                if path.is_file()
            }
        )
    assert contents[0] == contents[1]


def test_provenance(tmp_path):
    """The provenance records the inputs of a model, its random weights, and the comparison."""
    tritongen.build(["tiny-dpn"], output=tmp_path, seed=5, precision="fp32", gpus=["t4"], max_batch_size=4)
    record = json.loads((tmp_path / "tiny-dpn" / "provenance.json").read_text())
    assert record["weights"] == {"random": True, "source": "random", "seed": 5, "bn_eps": 1e-5}
    assert record["options"] == {
        "precision": "fp32", "gpus": ["t4"], "tolerance": 1e-4,
        "rewrites": ["slice-of-conv", "slice-of-concat", "concat-of-concat"],
        "serving": {**asdict(ServingOptions()), "max_batch_size": 4, "preferred_batch_sizes": [4],
                    "profile": [1, 4, 4], "accelerator": {}},
    }  # fmt: skip
    assert record["graph"]["rewrites"] == {"slice-of-conv": 16}  # 2 cuts of 2 convolutions in each of 4 blocks
    assert record["graph"]["opset"] == {"ai.onnx": 18}
    assert record["certificate"]["tolerance"] == 1e-4
    assert [batch["batch_size"] for batch in record["certificate"]["batches"]] == [1, 4, 8]
    assert all(0 < batch["relative_error"] < 1e-4 for batch in record["certificate"]["batches"])
    assert set(record["blake3"]) == {
        "1/model.onnx", "config.pbtxt", "configs/t4-fp16.pbtxt", "configs/t4-fp32.pbtxt", "labels.txt",
    }  # fmt: skip
    assert str(tmp_path) not in json.dumps(record)


def damaged(name, exported, rewrites, simplified=simplify.simplify):
    """Simplify, then damage one weight of one network."""
    result = simplified(name, exported, rewrites)
    if name == "tiny-densenet":
        tensor = next(t for t in result.model.graph.initializer if t.name == "classifier.weight")
        weight = numpy_helper.to_array(tensor).copy()
        weight[3] += 0.5
        tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    return result


def test_model_that_fails_verification_is_not_published(tmp_path, monkeypatch):
    """The old version stays, the other model is built, and the report has the reason."""
    tritongen.build(output=tmp_path, seed=1)
    before = (tmp_path / "tiny-densenet" / "1" / "model.onnx").read_bytes()
    monkeypatch.setattr(build_model, "simplify", damaged)
    report = tritongen.build(output=tmp_path, seed=2, jobs=1)
    assert [model.network.name for model in report.built] == ["tiny-dpn"]
    assert "tiny-densenet was not published: at batch 1 its answers differ" in str(report.failed["tiny-densenet"])
    assert (tmp_path / "tiny-densenet" / "1" / "model.onnx").read_bytes() == before


def test_verification_restores_the_thread_count(tmp_path):
    """Verification uses a fixed thread count and restores the user's."""
    before = torch.get_num_threads()
    torch.set_num_threads(references.THREADS + 1)
    try:
        tritongen.build(["tiny-dpn"], output=tmp_path)
        assert torch.get_num_threads() == references.THREADS + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"models": "nosuch"}, UnknownName, "there is no network named 'nosuch'"),
        ({"precision": "fp8"}, UnknownName, "there is no precision named 'fp8'"),
        ({"gpus": ["h100"]}, UnknownName, "there is no GPU named 'h100'"),
        ({"max_batch_size": 0}, BadValue, "max_batch_size=0: must be at least 1"),
        ({"seed": -1}, BadValue, "seed=-1: must be from 0"),
        ({"tolerance": 1e-3}, BadValue, "tolerance=0.001: must be above 0 and at most"),
        ({"tolerance": float("nan")}, BadValue, "tolerance=nan: must be above 0 and at most"),
        ({"rewrites": ["slice-of-gemm"]}, UnknownName, "there is no rewrite named 'slice-of-gemm'"),
        ({"models": []}, BadValue, "models='': no network is named"),
        ({"labels": "classes.txt"}, BadValue, "labels=classes.txt: needs exactly one network"),
        ({"weights": "nosuch.pth"}, BadValue, "weights=nosuch.pth: there is no such file or folder"),
    ],
)
def test_invalid_arguments_write_nothing(tmp_path, options, error, sentence):
    """No folder is created."""
    with pytest.raises(error, match=sentence):
        tritongen.build(output=tmp_path / "repo", **options)
    assert not (tmp_path / "repo").exists()


def test_full_disk(tmp_path):
    """With files limited to 50 kB: one error, the old model intact, nothing staged."""
    tritongen.build(["tiny-densenet"], output=tmp_path / "repo", seed=1)
    before = {path: path.read_bytes() for path in (tmp_path / "repo").rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputFailed, match=r"^cannot write .+/tiny-densenet/1/model.onnx: file too large$"):
            tritongen.build(output=tmp_path / "repo", seed=2, jobs=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in (tmp_path / "repo").rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_output_that_is_a_file(tmp_path):
    """One error, and the file stays."""
    (tmp_path / "repo").write_text("a file")
    with pytest.raises(OutputFailed, match=r"^cannot write .+/repo: file exists$"):
        tritongen.build(output=tmp_path / "repo")
    assert (tmp_path / "repo").read_text() == "a file"
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]
