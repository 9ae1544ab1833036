"""Torch functions of the user's own, in a module of the current folder."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import run_program

NETS = """
import torch
from torch import nn


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.linear = nn.Embedding(10, 4), nn.Linear(6, 4)

    def forward(self, x, ids):
        both = self.linear(x) + self.table(ids).mean(1)
        return {"sum": both, "sign": both.sign()}


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Two(nn.Module):
    def forward(self, x):
        return x.relu(), x.flatten(1).sum(1, keepdim=True)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def fails():
    raise ValueError("no such\\nlayer")


def number():
    return 3
"""


@pytest.fixture(name="build")
def _build(tmp_path):
    """The program, in a folder with the module `nets`."""
    (tmp_path / "nets.py").write_text(NETS)
    return lambda *arguments: run_program("build", *arguments, cwd=tmp_path)


def answers(folder, feeds):
    """Of the published file, by name."""
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


def test_an_image_network(build, tmp_path):
    """Named after its function, verified against torch, with labels and normalisation of its own."""
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    ran = build("--torch", "nets:small", "--input", "3x64x64", "--labels", "labels.txt", "--mean", "0,0,0", "--json")
    assert ran.status == 0, ran.stderr
    (model,) = ran.json["models"]
    assert (model["model"], model["weights"]) == ("small", "nets:small")
    assert [batch["top1_agree"] for batch in model["certificate"]["batches"]] == [1, 4, 8]
    record = json.loads((tmp_path / "model_repository" / "small" / "provenance.json").read_text())
    assert record["preprocessing"]["mean"] == [0, 0, 0]
    assert record["preprocessing"]["crop_px"] == 64
    config = (tmp_path / "model_repository" / "small" / "config.pbtxt").read_text()
    assert "dims: [ 3, 64, 64 ]" in config
    assert 'label_filename: "labels.txt"' in config


def test_two_inputs_and_a_mapping(build, tmp_path):
    """Names and types of the inputs as told, of the outputs as the keys."""
    ran = build("--torch", "nets:Pair", "--input", "x:6", "--input", "ids:3:int64", "--name", "My-Pair")
    assert ran.status == 0, ran.stderr
    x = np.random.default_rng(0).standard_normal((5, 6), dtype=np.float32)
    ids = np.arange(15).reshape(5, 3) % 10
    found = answers(tmp_path / "model_repository" / "my-pair", {"x": x, "ids": ids})
    torch.manual_seed(0)
    table, linear = torch.nn.Embedding(10, 4), torch.nn.Linear(6, 4)
    expected = (linear(torch.from_numpy(x)) + table(torch.from_numpy(ids)).mean(1)).detach().numpy()
    np.testing.assert_allclose(found["sum"], expected, atol=1e-6)
    np.testing.assert_array_equal(found["sign"], np.sign(expected))


def test_a_sequence(build, tmp_path):
    """Its outputs are numbered."""
    assert build("--torch", "nets:Two", "--input", "2x3").status == 0
    x = np.array([[[1, -2, 3], [4, 5, -6]]], np.float32)
    found = answers(tmp_path / "model_repository" / "two", {"input": x})
    np.testing.assert_array_equal(found["output_0"], np.maximum(x, 0))
    np.testing.assert_array_equal(found["output_1"], [[5]])


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (
            "--torch nets:Centred --input 4",
            1,
            "nets:Centred gives no network: its answer to one row depends on the other",
        ),
        ("--torch nosuch:small --input 4", 1, "nosuch:small gives no network: ModuleNotFoundError: No module named"),
        ("--torch nets:nosuch --input 4", 1, "nets:nosuch gives no network: nets has no 'nosuch'"),
        ("--torch nets:fails --input 4", 1, "nets:fails gives no network: ValueError: no such (nets.py, line "),
        ("--torch nets:number --input 4", 1, "nets:number gives no network: what it returned is of type int"),
        ("--torch nets:small --input 4", 1, "nets:small gives no network: it does not take its inputs: "),
        ("--torch nets:small", 2, "--torch nets:small: its input is not told"),
        ("--torch nets.small --input 4", 2, "--torch nets.small: it is not package.module:function"),
        ("--torch nets:small --input 3xbig", 2, "--input 3xbig: it is not [NAME:]DIMS[:TYPE]"),
        ("--torch nets:small --input 3:string", 2, "--input 3:string: it is not [NAME:]DIMS[:TYPE]"),
        ("--torch nets:Pair --input a:1 --input a:2", 2, "--input a,a: each input needs a name of its own"),
        ("--torch nets:small --input 3x8x8 --onnx x.onnx", 2, "--torch nets:small: --onnx is given too"),
        ("--torch nets:small --input 3x8x8 --models dpn68", 2, "--models dpn68: small is built alone"),
        ("--torch nets:small --input 3x8x8 --weights timm", 2, "--weights timm: small brings its own"),
        ("--torch nets:small --input 3x8x8 --name dpn92", 2, "--name dpn92: a network of tritongen's has that name"),
        ("--torch nets:small --input 3x8x8 --name ../up", 2, "--name '../up': letters, digits"),
        (
            "--torch nets:Two --input 2x3 --mean 0,0,0",
            2,
            "--mean, --std, --resize given: no square RGB image goes into",
        ),
        ("--models dpn68 --input 3x8x8", 2, "--input 3x8x8: it goes with --onnx or --torch"),
        ("--models dpn68 --mean 0,0,0", 2, "--mean, --std, --resize given: they go with --onnx or --torch"),
    ],
)
def test_what_is_wrong_is_one_sentence(build, tmp_path, arguments, status, sentence):
    """No traceback, nothing written."""
    ran = build(*arguments.split())
    assert ran.status == status, ran.stderr
    assert f"error: {sentence}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "model_repository").exists()
