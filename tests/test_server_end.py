"""The end of `serve`: by a signal, by the death of Triton or of a model's process; nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers import (
    eventually,
    processes_of,
    serving,
    write_model,
)

from generator.server.ports import free_ports

pytestmark = pytest.mark.server


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_server(tmp_path, number):
    """After Ctrl-C or SIGTERM the exit status is 0; no process, port or shared memory is left."""
    write_model(tmp_path / "repo", "small")
    with serving(tmp_path / "repo") as server:
        assert processes_of(str(tmp_path))
        server.process.send_signal(number)
        assert server.process.wait() == 0
    assert processes_of(str(tmp_path)) == []
    assert not list_shared_memory(server.process.pid)
    with serving(tmp_path / "repo"):
        pass  # its ports and folders are free again


def test_killed_serve_leaves_no_server(tmp_path):
    """After SIGKILL of `serve`, the kernel ends the server."""
    write_model(tmp_path / "repo", "small")
    with serving(tmp_path / "repo") as server:
        server.process.kill()
        server.process.wait()
        assert eventually(lambda: processes_of(str(tmp_path)) == [])


def test_ctrl_c_during_the_start(tmp_path):
    """Ctrl-C also ends a server whose models are not ready yet."""
    write_model(tmp_path / "repo", "small")
    ports = free_ports()
    command = [sys.executable, "-m", "tritongen", "serve", "repo"]
    command += [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert eventually(lambda: bool(processes_of(f"--model-repository={tmp_path}")))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read().endswith("error: interrupted\n")
    assert processes_of(str(tmp_path)) == []


def list_shared_memory(pid):
    """Return the files of a server in /dev/shm."""
    return list(Path("/dev/shm").glob(f"tritongen_{pid}_*"))


def test_killed_tritonserver_ends_serve(tmp_path):
    """If tritonserver is killed, `serve` reports it and ends with 1."""
    write_model(tmp_path / "repo", "small")
    with serving(tmp_path / "repo") as server:
        (pid,) = [folder.name for folder in Path("/proc").glob("[0-9]*") if is_tritonserver(folder.name, tmp_path)]
        os.kill(int(pid), signal.SIGKILL)
        assert server.process.wait() == 1
        output = server.process.stderr.read()
        assert "error: Triton was killed by SIGKILL\nhint: memory may have run out: serve fewer models\n" in output


def test_killed_stub_ends_serve(tmp_path):
    """If the process of a model is killed, `serve` reports it and ends with 1: Triton itself stays READY."""
    for name in ("one", "two_0_0"):
        write_model(tmp_path / "repo", name)
    with serving(tmp_path / "repo") as server:
        (stub,) = [process for process in psutil.process_iter(["cmdline"])
                   if is_stub(process.info["cmdline"] or [], tmp_path / "repo" / "two_0_0")]  # fmt: skip
        stub.kill()
        assert eventually(lambda: server.process.poll() == 1)
        assert "error: the process of two_0_0 was killed or crashed\nhint: memory" in server.process.stderr.read()
    assert processes_of(str(tmp_path)) == []


def is_stub(words, model):
    """Return True if a command line is that of the process of a model."""
    return len(words) > 1 and words[0].endswith("/triton_python_backend_stub") and words[1].startswith(f"{model}/")


def is_tritonserver(pid, repository):
    """Return True if a process is the tritonserver of a repository."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
    return "bin/tritonserver\0" in line and str(repository) in line
