"""A folder of 100 ONNX files: built, up to date, checked, and served by the real Triton."""

import numpy as np
import pytest
from helpers import onnx_model, run_program, serving

from generator.server.probe import TritonClient

MANY = 100


@pytest.mark.slow
@pytest.mark.server
def test_a_folder_of_many_models(tmp_path):
    """Every model answers with its own constant."""
    (tmp_path / "files").mkdir()
    for number in range(MANY):
        model = onnx_model([("Mul", ["x", "c"], ["y"])], {"x": ["fp32", "N", 4]}, {"y": ["fp32", "N", 4]}, {"c": np.float32([number])})  # fmt: skip
        (tmp_path / "files" / f"net{number:03}.onnx").write_bytes(model.SerializeToString())
    built = run_program("build", "--onnx", "files", "--json", cwd=tmp_path)
    assert built.status == 0, built.stderr
    assert [model["outcome"] for model in built.json["models"]] == ["published"] * MANY
    again = run_program("build", "--onnx", "files", "--json", cwd=tmp_path)
    assert [model["outcome"] for model in again.json["models"]] == ["up to date"] * MANY
    checked = run_program("check", cwd=tmp_path)
    assert (checked.status, checked.stdout) == (0, "")
    assert checked.stderr == f"{MANY} models in model_repository: 0 errors, 0 warnings\n"
    with serving(tmp_path / "model_repository") as server:
        assert len(TritonClient(server.url).ready_models()) == MANY
        assert "READY: net000, net001, net002, " in "".join(server.lines)
        assert np.array_equal(answer(server.url, f"net{MANY - 1:03}"), [[MANY - 1.0] * 4])


def answer(url, model):
    """Return a model's answer to ones."""
    import tritonclient.grpc as triton

    request = triton.InferInput("x", [1, 4], "FP32")
    request.set_data_from_numpy(np.ones((1, 4), np.float32))
    with triton.InferenceServerClient(url) as client:
        return client.infer(model, [request]).as_numpy("y")
