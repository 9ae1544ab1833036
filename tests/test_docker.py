"""The docker engine. No Docker runs here: the line is held to golden text, and a program named docker stands in for it."""

import shlex
from pathlib import Path

import pytest
from helpers import write_model

from generator import targets
from generator.errors import BadOption, EngineMissing, ServerFailed, UnknownName
from generator.server import docker
from generator.server.docker import command, docker_options
from generator.server.ports import free_ports
from generator.spec import Ports

LINE = (
    "docker run --rm --init --gpus '\"device=0\"' --shm-size=1g --ulimit memlock=-1 --ulimit stack=67108864 "
    "-p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 -p 127.0.0.1:8002:8002 "
    "-v /srv/models:/models:ro -v /home/me/cache:/cache nvcr.io/nvidia/tritonserver:{tag}-py3 "
    "tritonserver --model-repository=/models --strict-readiness=true --exit-on-error=true{variant}"
)


@pytest.mark.parametrize("gpu", ["v100", "t4"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("tag", ["24.05", "24.09"])
def test_the_whole_line(gpu, precision, tag):
    """Golden: one GPU, loopback ports, read-only models, a cache, the variant's name."""
    options = docker_options(gpu.upper(), precision, tag)
    line = command(Path("/srv/models"), Path("/home/me/cache"), Ports(), options)
    assert shlex.join(line) == LINE.format(tag=tag, variant=f" --model-config-name={gpu}-{precision}")


def test_without_a_gpu_named_config_pbtxt_is_served():
    """The default variant; the default image; other ports and chosen models."""
    options = docker_options(None, None, None)
    line = shlex.join(command(Path("/m"), Path("/c"), Ports(18000, 18001, 18002), options, models=["a", "b"]))
    assert "--model-config-name" not in line
    assert "tritonserver:24.09-py3" in line
    assert "-p 127.0.0.1:18001:8001" in line
    assert line.endswith("--model-control-mode=explicit --load-model=a --load-model=b")


@pytest.mark.parametrize(
    ("gpu", "precision", "tag", "why", "nearest"),
    [
        ("v100", "fp32", "24.10", "a V100: TensorRT 10.5 and later do not support compute capability 7.0", "24.09"),
        ("v100", "fp16", "25.04", "cannot run FP16 on a V100", "24.09"),
        ("v100", "fp32", "24.04", "older releases do not know --model-config-name", "24.05"),
        ("t4", "fp16", "26.06", "a T4: TensorRT 11 has no FP16 by precision_mode", "26.05"),
        ("t4", "fp32", "23.12", "cannot run FP32 on a T4", "24.05"),
    ],
)
def test_impossible_pairs(gpu, precision, tag, why, nearest):
    """Refused with the reason and the nearest image that works."""
    with pytest.raises(BadOption) as caught:
        docker_options(gpu, precision, tag)
    assert why in str(caught.value)
    assert caught.value.hint == f"use {nearest}"


@pytest.mark.parametrize(
    ("gpu", "precision", "tag"),
    [("v100", "fp16", "24.05"), ("v100", "fp32", "24.09"), ("t4", "fp16", "26.05"), ("t4", "fp32", "26.08")],
)
def test_the_ends_of_the_windows(gpu, precision, tag):
    """The last image that works is not refused."""
    assert docker_options(gpu, precision, tag).tag == tag


def test_tables_of_targets():
    """Both published tables come from one image, so from one TensorRT; names in any case."""
    assert {target.default_tag for target in targets.TARGETS} == {targets.DEFAULT_TAG}
    assert targets.find("T4").compute_capability == "7.5"
    with pytest.raises(UnknownName, match="there is no GPU named 'k80'"):
        targets.find("k80")


@pytest.fixture(name="fake_docker")
def _fake_docker(tmp_path, monkeypatch):
    """A program named docker, which is not Docker: it answers `version`, and `run` does what the test says."""

    def install(run):
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nif [ "$1" = version ]; then echo 28.0; exit; fi\n{run}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    return install


def test_a_container_that_refuses_a_model(fake_docker, tmp_path):
    """(Fake docker.) The container's log is read as the embedded server's is."""
    fake_docker(
        """echo "E1124 05:17:43.3 1 x.cc:1] \\"failed to load 'net' version 1: Internal: no engine\\""; exit 1"""
    )
    write_model(tmp_path / "repository", "net")
    serving = docker.serve(tmp_path / "repository", options=docker_options("t4", "fp16", None), ports=free_ports())
    with pytest.raises(ServerFailed, match=r"^Triton refused net: Internal: no engine$"), serving:
        pytest.fail("it is not ready")
    assert (tmp_path / "cache" / "tritongen" / "tensorrt" / "24.09-t4").is_dir()


def test_no_docker_engine(monkeypatch, tmp_path):
    """No program, or one that finds no engine: said so, with what helps."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="no Docker engine answers") as caught:
        docker.check_engine()
    assert "--print" in caught.value.hint
