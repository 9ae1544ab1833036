"""Paths and names that a shell would take for its own: the real server serves them, and nothing of them runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ask, eventually, run_program, serving, write_model

from generator.server.lifecycle import ready
from generator.server.ports import free_ports

pytestmark = pytest.mark.server


SHELL = "$(touch ran) & `touch ran`; 'x\" y"


@pytest.mark.parametrize("name", ["plain space", SHELL, "ünï"])
def test_paths_that_a_shell_would_take_for_its_own(tmp_path, name):
    """The Python backend starts its stubs through a shell, with nothing quoted: nothing of a path is executed."""
    write_model(tmp_path / name, "small")
    with serving(tmp_path / name) as server:
        assert ask(server.url, "small", np.ones((1, 3, 224, 224), np.float32)).shape == (1, 1000)
    assert list(tmp_path.rglob("ran")) == []
    assert not Path("ran").exists()


def test_the_printed_line_keeps_words_apart_too(tmp_path):
    """What `--print` prints, run by hand."""
    write_model(tmp_path / SHELL, "small")
    ports = free_ports()
    arguments = [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    line = run_program("serve", tmp_path / SHELL, "--engine", "embedded", "--print", *arguments, cwd=tmp_path).stdout
    with subprocess.Popen(f"exec {line}", shell=True, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        try:
            assert eventually(lambda: ready(ports))
        finally:
            process.terminate()
    assert list(tmp_path.rglob("ran")) == []


def test_a_model_of_such_a_name(tmp_path):
    """READY, and asked by its name over gRPC."""
    write_model(tmp_path / "repo", SHELL)
    with serving(tmp_path / "repo") as server:
        assert ask(server.url, SHELL, np.ones((1, 3, 224, 224), np.float32)).shape == (1, 1000)
    assert list(tmp_path.rglob("ran")) == []


def test_a_cache_folder_with_a_blank(tmp_path):
    """The backend's own folder too."""
    write_model(tmp_path / "repo", "small")
    ports = free_ports()
    arguments = [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "c ache")}
    command = [sys.executable, "-m", "tritongen", "serve", str(tmp_path / "repo"), *arguments]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("Ctrl-C"):
                break
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0, said
