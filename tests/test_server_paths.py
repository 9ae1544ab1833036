"""Paths and names with shell syntax: a real server serves them, and the shell executes nothing."""

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
def test_path_with_shell_syntax(tmp_path, name):
    """The Python backend starts its stubs through a shell without quotes; nothing of the path is executed."""
    write_model(tmp_path / name, "small")
    with serving(tmp_path / name) as server:
        assert ask(server.url, "small", np.ones((1, 3, 224, 224), np.float32)).shape == (1, 1000)
    assert list(tmp_path.rglob("ran")) == []
    assert not Path("ran").exists()


def test_printed_command_with_shell_syntax(tmp_path):
    """The command that `--print` prints runs in a shell; nothing of the path is executed."""
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


def test_model_name_with_shell_syntax(tmp_path):
    """The model is READY and answers under its name."""
    write_model(tmp_path / "repo", SHELL)
    with serving(tmp_path / "repo") as server:
        assert ask(server.url, SHELL, np.ones((1, 3, 224, 224), np.float32)).shape == (1, 1000)
    assert list(tmp_path.rglob("ran")) == []


def test_cache_folder_with_a_blank(tmp_path):
    """The backend starts from a folder with a blank in its path."""
    write_model(tmp_path / "repo", "small")
    ports = free_ports()
    arguments = [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "c ache")}
    command = [sys.executable, "-m", "tritongen", "serve", str(tmp_path / "repo"), *arguments]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        output = []
        for line in process.stderr:
            output.append(line)
            if line.startswith("Ctrl-C"):
                break
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0, output
