"""The embedded server on a host with a GPU, which a fake CUDA runtime imitates: it says CPU, and computes there."""

import subprocess
from pathlib import Path

import pytest
from helpers import eventually, run_program, serving, write_model

from generator.server.ports import free_ports
from generator.server.probe import TritonClient

pytestmark = pytest.mark.server


@pytest.fixture(name="fake_gpu")
def _fake_gpu(tmp_path_factory, monkeypatch):
    """Preload a fake CUDA runtime with one Tesla T4 into every program that the test starts."""
    library = tmp_path_factory.mktemp("cuda") / "fake_cuda.so"
    source = Path(__file__).with_name("fake_cuda.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))


@pytest.mark.usefixtures("fake_gpu")
def test_the_embedded_server_sees_no_gpu(tmp_path):
    """The models run on the CPU, and the server says so: no latency of it can be taken for a GPU's."""
    write_model(tmp_path / "repo", "small")
    with serving(tmp_path / "repo") as server, TritonClient(server.url) as client:
        assert client.served_model("small").device == "cpu"


@pytest.mark.usefixtures("fake_gpu")
def test_the_backend_refuses_a_gpu(tmp_path):
    """A server that is started by hand and sees the GPU gives the model an instance there: the model does not load."""
    write_model(tmp_path / "repo", "small")
    ports = free_ports()
    arguments = [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    line = run_program("serve", "--print", "--engine=embedded", "repo", *arguments, cwd=tmp_path).stdout
    assert "CUDA_VISIBLE_DEVICES= " in line
    line = line.replace("CUDA_VISIBLE_DEVICES= ", "")
    log = tmp_path / "log"
    with log.open("w") as sink, subprocess.Popen(f"exec {line}", shell=True, cwd=tmp_path, stderr=sink) as process:
        try:
            assert eventually(lambda: process.poll() is not None)
        finally:
            process.kill()
    assert process.returncode > 0
    assert "the instance is of KIND_GPU, and this backend runs on the CPU only" in log.read_text()
