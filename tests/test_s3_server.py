"""The real Triton with a repository in S3, which it fetches itself over HTTP."""

import json
import signal
import subprocess

import numpy as np
import pytest
from helpers import (
    SMALL_CONFIG,
    ask,
    eventually,
    run_program,
    serving,
    small_onnx,
    wait_for_stopped_servers,
    write_model,
)
from s3_server import LOCK

import tritongen
from generator.imagenet import CLASS_NAMES, images
from generator.server.ports import free_ports
from generator.server.probe import TritonClient

pytestmark = pytest.mark.server

IMAGES = np.random.default_rng(0).standard_normal((8, 3, 224, 224), dtype=np.float32)


@pytest.fixture(name="repository")
def _repository(s3, tmp_path):
    """A small network as a user builds it; beside it the lock of another build, which Triton ignores."""
    (tmp_path / "network.onnx").write_bytes(small_onnx().SerializeToString())
    done = run_program("build", "--onnx", "network.onnx", "--labels", CLASS_NAMES, "--output", s3.url(), cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert f"1 verified in {s3.url()}" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "network.onnx"]
    s3.put(f"models/{LOCK}", b"")
    return s3.url()


def test_build_check_serve_infer(s3, repository, tmp_path, monkeypatch):
    """The answers equal those of the same build in a folder, and nothing is left behind."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    tritongen.build(tritongen.onnx_network(tmp_path / "network.onnx"), labels=CLASS_NAMES, output=tmp_path / "folder")
    assert run_program("check", repository, "--server", cwd=tmp_path).status == 0
    with serving(repository) as server:
        assert f"starting Triton (embedded engine) on {repository}\n" in server.lines
        theirs = ask(server.url, "network", IMAGES)
        labels = run_program(
            "infer", images.PHOTOGRAPHS[0], "-m", "network", "--json", "--url", server.url, cwd=tmp_path
        )
    with serving(tmp_path / "folder") as server:
        assert np.array_equal(theirs, ask(server.url, "network", IMAGES))
    classes = CLASS_NAMES.read_text().splitlines()
    ((guesses,),) = [[images["classes"] for images in json.loads(labels.stdout)["images"]]]
    assert [guess["label"] for guess in guesses] == [classes[guess["index"]] for guess in guesses]
    assert s3.requested("GET").count("models/network/1/model.onnx") >= 1
    wait_for_stopped_servers()
    # ONNX Runtime keeps a hidden file there.
    assert [path for path in (tmp_path / "temporary").iterdir() if not path.name.startswith(".")] == []


def test_infer_starts_a_server(repository, tmp_path):
    """Without a running server `infer` starts one for the repository in S3."""
    asked = run_program("infer", images.PHOTOGRAPHS[0], "-m", "network", "--repository", repository, cwd=tmp_path)
    assert asked.status == 0, asked.stderr
    assert f"starting one of {repository} (embedded engine)" in asked.stderr
    absent = run_program("infer", images.PHOTOGRAPHS[0], "-m", "networ", "--repository", repository, cwd=tmp_path)
    assert (absent.status, absent.stdout) == (2, "")
    assert "error: there is no model named 'networ'\nhint: did you mean 'network'?" in absent.stderr


def test_a_refused_model(s3, tmp_path):
    """The error has Triton's reason, as for a folder."""
    write_model(tmp_path / "models", "net", SMALL_CONFIG.replace("[ 1000 ]", "[ 999 ]"))
    s3.upload(tmp_path / "models")
    checked = run_program("check", s3.url(), "--server", cwd=tmp_path)
    assert checked.status == 1
    assert "the model configuration specifies" in checked.stdout
    assert "server: net: refused (load): " in checked.stderr
    assert "a defect" not in checked.stderr
    served = run_program("serve", s3.url(), cwd=tmp_path)
    assert served.status == 1
    assert "error: Triton refused net: " in served.stderr


def test_replacing_a_model_under_a_polling_server(s3, tmp_path):
    """The server answers throughout, then with the new model."""
    (tmp_path / "net.onnx").write_bytes(small_onnx().SerializeToString())
    tritongen.build(tritongen.onnx_network(str(tmp_path / "net.onnx")), output=s3.url())
    ports = free_ports()
    line = run_program(
        "serve", s3.url(), "--print", f"--http-port={ports.http}", f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}", cwd=tmp_path,
    ).stdout.strip()  # fmt: skip
    assert f" --model-repository=s3://{s3.endpoint}/{s3.bucket}/models " in line
    with (
        (tmp_path / "log").open("w") as sink,
        subprocess.Popen(f"exec {line} --model-control-mode=poll --repository-poll-secs=1", shell=True, stderr=sink) as process,
    ):  # fmt: skip
        try:
            assert eventually(
                lambda: (
                    TritonClient(ports.grpc_url).answers() and TritonClient(ports.grpc_url).ready_models() == ("net",)
                )
            )
            before = ask(ports.grpc_url, "net", IMAGES)
            other = small_onnx()
            other.graph.initializer[0].raw_data = np.ones((3, 1000), np.float32).tobytes()
            (tmp_path / "net.onnx").write_bytes(other.SerializeToString())
            tritongen.build(tritongen.onnx_network(str(tmp_path / "net.onnx")), output=s3.url())
            assert eventually(lambda: not np.array_equal(ask(ports.grpc_url, "net", IMAGES), before))
        finally:
            process.send_signal(signal.SIGINT)
    assert "failed to load" not in (tmp_path / "log").read_text()
