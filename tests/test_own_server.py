"""Networks that nobody here wrote, and odd ones of our own: built, served, asked and measured as a user does it."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton
from helpers import onnx_model, run_program, serving

from generator import image, samples
from generator.client import wire_type
from generator.server import probe
from generator.spec import Preprocessing

pytestmark = pytest.mark.server

LIGHT = Path(find_spec("onnx").origin).parent / "backend" / "test" / "data" / "light"
DATASETS = Path(find_spec("onnxruntime").origin).parent / "datasets"
FOREIGN = {
    "mul_1": DATASETS / "mul_1.onnx",
    "sigmoid": DATASETS / "sigmoid.onnx",
    "light_squeezenet": LIGHT / "light_squeezenet.onnx",
    "light_shufflenet": LIGHT / "light_shufflenet.onnx",
    "light_densenet121": LIGHT / "light_densenet121.onnx",
}
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CLASSES = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]


def own_graphs():
    """Strings, a scalar, two inputs and outputs of mixed types under awkward names, images with the channels last."""
    weight = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    return {
        "strings": onnx_model([("Identity", ["x"], ["y"])], {"x": ["string", "N", 2]}, {"y": ["string", "N", 2]}),
        "scalar": onnx_model(
            [("Mul", ["x", "factor"], ["y"])], {"x": ["fp32", 2, 3], "factor": ["fp32"]}, {"y": ["fp32", 2, 3]}
        ),
        "mixed": onnx_model(
            [
                ("Cast", ["ids/0:0"], ["float"], {"to": 1}),
                ("Add", ["x", "float"], ["sum"]),
                ("Neg", ["ids/0:0"], ["n"]),
            ],
            {"x": ["fp32", "N", 4], "ids/0:0": ["int64", "N", 4]},
            {"sum": ["fp32", "N", 4], "n": ["int64", "N", 4]},
        ),
        "last": onnx_model(
            [("ReduceMean", ["photo", "axes"], ["mean"], {"keepdims": 0}), ("MatMul", ["mean", "weight"], ["scores"])],
            {"photo": ["fp32", "N", 64, 64, 3]},
            {"scores": ["fp32", "N", 8]},
            {"axes": np.array([1, 2]), "weight": weight},
        ),
    }


@pytest.fixture(scope="module", name="served")
def _served(tmp_path_factory):
    """All of them in one repository, each by a call of `build --onnx`, and the server."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "labels.txt").write_text("\n".join(CLASSES))
    given = dict(FOREIGN)
    for name, model in own_graphs().items():
        given[name] = folder / f"{name}.onnx"
        onnx.save(model, given[name])
    colours = [f"--mean={','.join(map(str, MEAN))}", f"--std={','.join(map(str, STD))}", "--labels=labels.txt"]
    for name, path in given.items():
        ran = run_program("build", "--onnx", path, "--name", name, *(colours if name == "last" else ()), cwd=folder)
        assert ran.status == 0, ran.stderr
    with serving(folder / "model_repository") as running:
        yield running


def ask(url, model, feeds):
    """The outputs by name."""
    requests = []
    for spec in model.inputs:
        array = feeds[spec.name]
        requests.append(triton.InferInput(spec.name, list(array.shape), wire_type(spec)))
        requests[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(url) as client:
        answer = client.infer(model.name, requests)
    return {spec.name: answer.as_numpy(spec.name) for spec in model.outputs}


@pytest.mark.parametrize("name", [*FOREIGN, *own_graphs()])
def test_the_server_answers_as_onnxruntime_does(served, name):
    """On the file as it was given, row by row where its batch was fixed."""
    path = FOREIGN.get(name) or served.repository.parent / f"{name}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = probe.served_model(served.url, name)
    fixed = session.get_inputs()[0].shape[0]
    rows = fixed if isinstance(fixed, int) else None
    for count in (rows or 1, 2 * (rows or 1)) if model.max_batch_size else (None,):
        feeds = samples.feeds(model.inputs, count, None)
        answers = ask(served.url, model, feeds)
        shaped = {
            entry.name: feeds[entry.name].reshape(() if entry.shape == [] else feeds[entry.name].shape)
            for entry in session.get_inputs()
        }
        begins = range(0, count, rows) if count and rows else ()
        parts = [{key: value[begin : begin + rows] for key, value in shaped.items()} for begin in begins]
        runs = [session.run(None, part) for part in parts or [shaped]]
        for entry, expected in zip(session.get_outputs(), map(np.concatenate, zip(*runs, strict=True)), strict=True):
            answer = answers[entry.name].reshape(expected.shape)
            if expected.dtype == np.object_:
                assert [value.decode() for value in answer.ravel()] == list(expected.ravel())
            else:
                assert np.abs(answer - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-30)


def test_which_are_batched(served):
    """A batch of one is opened; a constant of three rows, and a scalar beside a matrix, leave no batch."""
    sizes = {name: probe.served_model(served.url, name).max_batch_size for name in [*FOREIGN, *own_graphs()]}
    assert [name for name, size in sizes.items() if size == 0] == ["mul_1", "scalar"]


def test_infer_takes_a_network_of_ones_own(served):
    """Its size, its channels last, its mean and deviation, its labels."""
    answer = run_program(
        "infer", image.PHOTOGRAPHS[0], "--model", "last", "--top", 8, "--url", served.url, "--json",
        cwd=served.repository,
    )  # fmt: skip
    assert answer.status == 0, answer.stderr
    photograph = image.tensor(image.load(image.PHOTOGRAPHS[0]), Preprocessing(73, 64, MEAN, STD)).transpose(1, 2, 0)
    session = onnxruntime.InferenceSession(served.repository.parent / "last.onnx")
    (scores,) = session.run(None, {"photo": photograph[np.newaxis]})[0]
    (answered,) = answer.json["images"]
    order = np.argsort(-scores)
    assert [guess["label"] for guess in answered["classes"]] == [CLASSES[index] for index in order]
    assert [guess["logit"] for guess in answered["classes"]] == pytest.approx(scores[order], abs=1e-4)


def test_infer_refuses_what_takes_no_image(served):
    """One sentence that says what it takes."""
    ran = run_program("infer", image.PHOTOGRAPHS[0], "--model", "mixed", "--url", served.url, cwd=served.repository)
    assert ran.status == 1
    assert "error: mixed takes no image: its input is x TYPE_FP32 [4], ids/0:0 TYPE_INT64 [4]" in ran.stderr


def test_perf_measures_them(served):
    """Strings, integers, a name with / and :, and a model without a batch, which has no figure for 4 and 8."""
    ran = run_program(
        "perf", "--models", "strings,mixed,scalar,last", "--measurement", "quick", "--url", served.url,
        cwd=served.repository,
    )  # fmt: skip
    assert ran.status == 0, ran.stderr
    rows = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]]
        for row in ran.stdout.splitlines()
        if row.startswith("| ")
    }
    assert rows["scalar"][-2:] == ["-", "-"]
    assert rows["last"][:2] == ["64", "73"]
    figures = [*rows["strings"][2:], *rows["mixed"][2:], *rows["last"][2:], rows["scalar"][2]]
    assert len(figures) == 10
    assert all(float(figure) >= 0 for figure in figures)
