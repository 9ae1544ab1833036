"""perf against the real server, with the real perf_analyzer."""

import re

import pytest
from helpers import SMALL_CONFIG, run_program, serving, write_model
from onnx import TensorProto, helper

from generator.server import probe
from generator.server.connect import DEFAULT_URL

pytestmark = pytest.mark.server


def test_the_table(server, tmp_path):
    """One DenseNet and one DPN at batch 1, 4 and 8: the published columns, positive figures that grow with the batch."""
    ran = run_program(
        "perf", "--gpu", "cpu", "--models", "dpn68,densenet121", "--measurement", "quick", "--metric", "compute",
        "--metric", "p99", "--url", server.url, cwd=tmp_path,
    )  # fmt: skip
    assert ran.status == 0, ran.stderr
    assert ran.stdout.count("| Models | Crop Size | Resize Short Size | FP32<br>Batch Size=1<br>(ms) |") == 2
    compute, p99 = (
        {
            name: list(map(float, cells.split(" | ")))
            for name, cells in re.findall(r"\| (D\w+) \| 224 \| 256 \| (.+) \|", part)
        }
        for part in ran.stdout.split("Client p99, ms")
    )
    assert list(compute) == list(p99) == ["DenseNet121", "DPN68"]
    for figures in (*compute.values(), *p99.values()):
        assert 0 < figures[0] < figures[1] < figures[2]
    for name, figures in compute.items():
        # A mean of ten is below their largest, and the server's part below the whole.
        assert all(inner < outer for inner, outer in zip(figures, p99[name], strict=True))
    assert "10 requests after 1 to warm up" in ran.stdout
    assert "Weights: random (seed 0)." in ran.stdout
    assert "[6/6] dpn68 fp32 batch 8" in ran.stderr


def test_a_gpu_that_the_server_does_not_have(server, tmp_path):
    """Exit 1, what the server runs on, no table."""
    ran = run_program("perf", "--gpu", "v100", "--url", server.url, cwd=tmp_path)
    assert (ran.status, ran.stdout) == (1, "")
    assert re.match(
        r"error: --gpu v100: the server runs on .+ cores?, so there is no V100 table to measure\n", ran.stderr
    )


def test_batches_that_the_model_does_not_take(server, tmp_path):
    """Said before anything is measured."""
    ran = run_program("perf", "-m", "dpn68", "-b", "1,16", "--url", server.url, cwd=tmp_path)
    assert (ran.status, ran.stdout) == (2, "")
    assert "error: --batch-sizes 16: dpn68 takes batches of 1 to 8" in ran.stderr


def test_a_server_of_its_own(tmp_path):
    """Where no Triton runs one is started, said so, and stopped; JSON keeps every part in microseconds."""
    assert not probe.answers(DEFAULT_URL), f"this test wants no Triton at {DEFAULT_URL}"
    write_model(tmp_path / "model_repository", "small")
    ran = run_program("perf", "-b", "1,8", "--measurement", "quick", "--json", cwd=tmp_path)
    assert ran.status == 0, ran.stderr
    assert "starting one of model_repository (embedded engine) for this command" in ran.stderr
    assert [(row["model"], row["batch_size"], row["status"]) for row in ran.json] == [
        ("small", 1, "ok"),
        ("small", 8, "ok"),
    ]
    assert all(row["latency"]["p99_us"] >= row["latency"]["p50_us"] > 0 for row in ran.json)


def batch_of_one_behind_a_run_time_shape():
    """[N,4] -> reshaped to [1,4], whatever N is; the shape depends on the data, so that nobody can see it before."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMin", ["input"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "zero"], ["nothing"]),
            helper.make_node("Cast", ["nothing"], ["none"], to=TensorProto.INT64),
            helper.make_node("Add", ["none", "shape"], ["computed"]),
            helper.make_node("Reshape", ["input", "computed"], ["output"]),
        ],
        "hard",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 4])],
        [
            helper.make_tensor("shape", TensorProto.INT64, [2], [1, 4]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_a_point_that_fails_is_marked(tmp_path):
    """A model that fails at batch 8: that cell says so, the others have figures, exit status 1."""
    model = batch_of_one_behind_a_run_time_shape()
    config = SMALL_CONFIG.replace("[ 3, 224, 224 ]", "[ 4 ]").replace("[ 1000 ]", "[ 4 ]")
    write_model(tmp_path / "repo", "hard", config, model)
    with serving(tmp_path / "repo") as server:
        ran = run_program("perf", "--measurement", "quick", "-b", "1,8", "--url", server.url, cwd=tmp_path)
    assert ran.status == 1
    (cells,) = re.findall(r"\| hard \| - \| - \| (\S+) \| (\S+) \|", ran.stdout)
    assert float(cells[0]) >= 0
    assert cells[1] == "failed"
    assert re.search(r"failed: hard fp32 batch 8: .*onnx runtime error", ran.stderr)


def test_doctor_finds_the_engine(tmp_path):
    """What the tests above need is there, found by starting it."""
    ran = run_program("doctor", "--json", cwd=tmp_path)
    rows = {row["subject"]: row for row in ran.json}
    assert ran.status == 0, ran.stderr
    assert all(rows[subject]["ok"] for subject in ("python", "build", "serve, embedded", "perf"))
    assert rows["perf"]["detail"].startswith("Perf Analyzer Version 2.51.0")
    assert run_program("doctor", cwd=tmp_path).stdout.count("\n") == len(rows) + 1
