"""Foreign and unusual networks: built, served and measured as a user does it."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton
from helpers import onnx_model, run_program, serving
from perf_calls import QUICK, run_perf

import tritongen
from generator.graph import load
from generator.graph.datatypes import wire_type
from generator.imagenet import images
from generator.server.probe import TritonClient
from generator.types import Preprocessing
from generator.verify import samples

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


def image_network(shape, axes, *before):
    """Return a network that scores 8 classes by the mean colour of an image."""
    weight = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    mean = ("ReduceMean", ["same" if before else "photo", "axes"], ["mean"], {"keepdims": 0})
    return onnx_model(
        [*before, mean, ("MatMul", ["mean", "weight"], ["scores"])],
        {"photo": ["fp32", *shape]},
        {"scores": ["fp32", shape[0], 8]},
        {"axes": np.array(axes), "weight": weight, "zero": np.array(0)},
    )


def own_graphs():
    """Return networks with strings, a scalar, mixed types, special names, images, mixed rows, and external data."""
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
        "last": image_network(["N", 64, 64, 3], [1, 2]),
        "first": image_network(["N", 3, 64, 64], [2, 3]),
        # A sum over one row is that row, but the operator mixes the rows of a batch.
        "alone": image_network([1, 3, 64, 64], [2, 3], ("CumSum", ["photo", "zero"], ["same"])),
        "centred": onnx_model(
            [("ReduceMean", ["x:0", "axes"], ["mean"]), ("Sub", ["x:0", "mean"], ["y:0"])],
            {"x:0": ["fp32", 4, 3]},
            {"y:0": ["fp32", 4, 3]},
            {"axes": np.array([0])},
        ),
        "external": onnx_model(
            [("MatMul", ["x", "w"], ["y"])],
            {"x": ["fp32", "N", 30]},
            {"y": ["fp32", "N", 20]},
            {"w": np.random.default_rng(1).standard_normal((30, 20)).astype(np.float32)},
        ),
    }


@pytest.fixture(scope="module", name="served")
def _served(tmp_path_factory):
    """Build all networks into one repository and serve it; `build --onnx` builds the foreign ones."""
    folder = tmp_path_factory.mktemp("own")
    repository = folder / "model_repository"
    for name, path in FOREIGN.items():
        ran = run_program("build", "--onnx", path, "--name", name, cwd=folder)
        assert ran.status == 0, ran.stderr
    labels = folder / "labels.txt"
    labels.write_text("\n".join(CLASSES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "IN_MEMORY_BYTES", 1000)  # what `external` exceeds
        for name, model in own_graphs().items():
            path = folder / f"{name}.onnx"
            onnx.save(model, path, save_as_external_data=name == "external", location="w.bin", size_threshold=0)
            picture = (
                tritongen.ImageInput(MEAN, STD) if "photo" in [value.name for value in model.graph.input] else None
            )
            network = tritongen.onnx_network(path, image=picture)
            made = tritongen.build(network, output=repository, labels=labels if name in ("first", "last") else None)
            assert made.failed == {}
    with serving(repository) as running:
        yield running


def ask(url, model, feeds):
    """Send a request and return the outputs by name."""
    requests = []
    for spec in model.inputs:
        array = feeds[spec.name]
        requests.append(triton.InferInput(spec.name, list(array.shape), wire_type(spec.datatype)))
        requests[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(url) as client:
        answer = client.infer(model.name, requests)
    return {spec.name: answer.as_numpy(spec.name) for spec in model.outputs}


@pytest.mark.parametrize("name", [*FOREIGN, *own_graphs()])
def test_answers_match_onnxruntime(served, name):
    """The answers match ONNX Runtime on the given file, which runs row by row if its batch is fixed."""
    path = FOREIGN.get(name) or served.repository.parent / f"{name}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = TritonClient(served.url).served_model(name)
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


def test_networks_without_batching(served):
    """A network stays unbatched if it has a constant of three rows, a scalar and a matrix, or mixed rows."""
    sizes = {name: TritonClient(served.url).served_model(name).max_batch_size for name in [*FOREIGN, *own_graphs()]}
    assert [name for name, size in sizes.items() if size == 0] == ["mul_1", "scalar", "alone", "centred"]


@pytest.mark.parametrize(("name", "labels"), [("last", CLASSES), ("first", CLASSES), ("alone", [""] * 8)])
def test_infer_with_own_network(served, name, labels):
    """`infer` uses the size, layout, mean, deviation and labels of the network, with and without a batch."""
    answer = run_program(
        "infer", images.PHOTOGRAPHS[0], "--model", name, "--top", 8, "--url", served.url, "--json",
        cwd=served.repository,
    )  # fmt: skip
    assert answer.status == 0, answer.stderr
    photograph = images.tensor(images.load(images.PHOTOGRAPHS[0]), Preprocessing(73, 64, MEAN, STD))
    session = onnxruntime.InferenceSession(served.repository.parent / f"{name}.onnx")
    pixels = photograph.transpose(1, 2, 0) if name == "last" else photograph
    (scores,) = session.run(None, {"photo": pixels[np.newaxis]})[0]
    (answered,) = answer.json["images"]
    order = np.argsort(-scores)
    assert [guess["index"] for guess in answered["classes"]] == list(order)
    assert [guess["label"] for guess in answered["classes"]] == [labels[index] for index in order]
    assert [guess["logit"] for guess in answered["classes"]] == pytest.approx(scores[order], abs=1e-4)


def test_infer_refuses_a_model_without_image(served):
    """The error lists the inputs of the model."""
    ran = run_program("infer", images.PHOTOGRAPHS[0], "--model", "mixed", "--url", served.url, cwd=served.repository)
    assert ran.status == 1
    assert "error: mixed takes no image: its input is x TYPE_FP32 [4], ids/0:0 TYPE_INT64 [4]" in ran.stderr


def test_perf_measures_own_networks(served):
    """`perf` measures all kinds of inputs; a model without a batch has no figures for 4 and 8."""
    names = ["strings", "mixed", "scalar", "last", "centred", "external"]
    ran = run_perf(
        *QUICK, "--models", ",".join(names), "--time-limit", "1s", "--url", served.url, cwd=served.repository
    )
    assert "failed" not in ran.stdout, ran.stderr  # so small a model may not settle on a busy machine
    rows = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]]
        for row in ran.stdout.splitlines()
        if row.startswith("| ")
    }
    assert rows["last"][:2] == ["64", "73"]
    assert rows["mixed"][:2] == ["-", "-"]
    for name in names:
        batches = rows[name][2:]
        figures = batches[:1] if name in ("scalar", "centred") else batches
        assert all(float(figure.split()[0]) >= 0 for figure in figures)
        assert batches[len(figures) :] == ["-", "-"][: 3 - len(figures)]


def test_perf_measures_one_batch_size(served):
    """Every model takes batch 1; batch 4 is refused for a model without a batch."""
    ran = run_perf(
        *QUICK, "-m", "strings,scalar,centred", "--batch-sizes", "1", "--json", "--url", served.url,
        cwd=served.repository,
    )  # fmt: skip
    points = ran.json[0]["points"]
    assert [(point["model"], point["batch_size"]) for point in points] == [
        (name, 1) for name in ("centred", "scalar", "strings")
    ]
    assert all(point["compute_ms"] is not None for point in points), ran.stderr
    ran = run_program("perf", "-m", "scalar", "--batch-sizes", "4", "--url", served.url, cwd=served.repository)
    assert ran.status == 2
    assert "error: --batch-sizes 4: scalar takes batches of 1 to 1" in ran.stderr


LARGE_BYTES = 2_100_000_000
WIDTH = 1024


@pytest.mark.slow
def test_model_of_more_than_2_gb(tmp_path):
    """A table of 2.1 GB is built with external data and served; the answers have the right rows."""
    count = LARGE_BYTES // (4 * WIDTH)
    values = np.random.default_rng(0).standard_normal((3, WIDTH)).astype(np.float32)
    places = [0, 1, count - 1]
    model = onnx_model([("Gather", ["table", "ids"], ["rows"])], {"ids": ["int64", "N", 2]},
                       {"rows": ["fp32", "N", 2, WIDTH]}, {"table": values})  # fmt: skip
    (table,) = model.graph.initializer
    table.ClearField("raw_data")
    table.data_location = onnx.TensorProto.EXTERNAL
    table.external_data.add(key="location", value="table.bin")
    table.dims[0] = count
    folder = tmp_path / "large"
    folder.mkdir()
    try:
        with (folder / "table.bin").open("wb") as file:  # the rest of the file is a hole
            for place, row in zip(places, values, strict=True):
                file.seek(place * 4 * WIDTH)
                file.write(row.tobytes())
            os.truncate(file.fileno(), count * 4 * WIDTH)
        onnx.save(model, folder / "large.onnx")
        built = run_program("build", "--onnx", "large.onnx", "--json", cwd=folder)
        assert built.status == 0, built.stderr
        (made,) = built.json["models"]
        assert (made["unsimplified"], made["unbatched"]) == ("its data are too large for onnxsim", None)
        assert made["size_bytes"] > LARGE_BYTES - 4 * WIDTH
        with serving(folder / "model_repository") as running:
            served = TritonClient(running.url).served_model("large")
            assert (served.max_batch_size, served.inputs[0].dims) == (8, (2,))
            ids = np.array([[0, count - 1], [1, 0], [2, count - 2]])
            answer = ask(running.url, served, {"ids": ids})["rows"]
        session = onnxruntime.InferenceSession(folder / "large.onnx", providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(answer, session.run(None, {"ids": ids})[0])
        np.testing.assert_array_equal(answer[0], values[[0, 2]])
    finally:
        shutil.rmtree(folder)
