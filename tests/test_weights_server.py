"""Weights of each publisher, built and served by the real server."""

import json

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
from helpers import run_program, serving
from weights_samples import as_paddle, write

from generator.imagenet import images as image
from generator.networks import INPUT, select
from generator.types import Preprocessing
from generator.verify import samples
from generator.weights.random_init import random_network

pytestmark = pytest.mark.server

MXNET = Preprocessing(mean=(124 / 255, 117 / 255, 104 / 255), std=(1 / (0.0167 * 255),) * 3)
# network: file, how it is written, source, epsilon, normalisation
CASES = {
    "densenet121": ("DenseNet121_pretrained.pdparams", "Paddle pickle 2", "paddleclas", 1e-5, Preprocessing()),
    "densenet169": ("densenet169-b2777c0a.pth", "torch legacy", "torchvision", 1e-5, Preprocessing()),
    "dpn68": ("dpn68.mx_in1k.safetensors", "safetensors", "timm", 1e-3, MXNET),
}


@pytest.fixture(scope="module", name="modules")
def _modules():
    """Return each network with calibrated random parameters and its publisher's epsilon."""
    modules = {}
    for name, (_, _, _, bn_eps, _) in CASES.items():
        (network,) = select([name])
        modules[name] = network.module(bn_eps=bn_eps).to_empty(device="cpu")
        modules[name].load_state_dict(random_network(network, 7)[0].state_dict())
    return modules


@pytest.fixture(scope="module", name="served")
def _served(modules, tmp_path_factory):
    """Build from a folder of files, and serve."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "files").mkdir()
    for name, (file, container, source, _, _) in CASES.items():
        state = modules[name].state_dict()
        write(
            folder / "files" / file, as_paddle(*select([name]), state) if source == "paddleclas" else state, container
        )
    built = run_program("build", "--models", ",".join(CASES), "--weights", "files", cwd=folder)
    assert built.status == 0, built.stderr
    assert "Random weights" not in built.stderr
    with serving(folder / "model_repository") as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_served_answers_match_torch(served, modules, name):
    """At batch 3 the answers match torch's, and the provenance names the publisher."""
    file, _, source, bn_eps, preprocessing = CASES[name]
    images = samples.feeds((INPUT,), 3, preprocessing)["input"]
    with torch.no_grad():
        expected = modules[name](torch.from_numpy(images)).numpy()
    request = triton.InferInput("input", list(images.shape), "FP32")
    request.set_data_from_numpy(images)
    with triton.InferenceServerClient(served.url) as client:
        answer = client.infer(name, [request]).as_numpy("output")
    assert np.abs(answer - expected).max() <= 1e-4 * np.abs(expected).max()

    record = json.loads((served.repository / name / "provenance.json").read_text())
    assert record["weights"].pop("sha256")
    assert record["weights"] == {"random": False, "source": source, "file": file, "bn_eps": bn_eps}
    assert record["preprocessing"]["mean"] == pytest.approx(preprocessing.mean)
    assert record["preprocessing"]["std"] == pytest.approx(preprocessing.std)


def test_infer_normalises_like_the_publisher(served, modules):
    """`infer` uses MXNet's mean for timm's DPN68, and does not call the labels meaningless."""
    answer = run_program(
        "infer", image.PHOTOGRAPHS[1], "--model", "dpn68", "--url", served.url, "--json", cwd=served.repository
    )
    assert answer.status == 0, answer.stderr
    assert "meaningless" not in answer.stderr
    assert answer.json["weights"] == "timm (dpn68.mx_in1k.safetensors)"
    photograph = image.tensor(image.load(image.PHOTOGRAPHS[1]), MXNET)
    with torch.no_grad():
        logits = modules["dpn68"](torch.from_numpy(photograph)[None])[0].numpy()
    (answered,) = answer.json["images"]
    assert [guess["logit"] for guess in answered["classes"]] == pytest.approx(
        sorted(logits)[:-6:-1], abs=1e-4 * np.abs(logits).max()
    )
