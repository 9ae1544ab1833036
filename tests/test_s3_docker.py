"""The docker engine on a repository in S3: golden files, since no Docker runs here."""

import shlex
from pathlib import Path

import pytest
import yaml
from test_container import check_golden
from test_docker import with_variants

from generator.commands.serve import write_container
from generator.errors import BadValue
from generator.repository.s3.url import S3Url
from generator.repository.source import Source
from generator.server.docker import engine
from generator.server.docker.container import S3_VARIABLES, compose, container, docker_options, docker_run
from generator.server.ports import Ports

URL = "s3://http://minio.example:9000/models/prod"


def made(gpu, cache):
    """The container of a GPU."""
    return container(URL, cache, Ports(), docker_options(gpu, "fp32"))


def test_the_whole_line():
    """Nothing is mounted but the engines; the credentials are named and not written down."""
    check_golden("v100-fp32-s3.txt", shlex.join(docker_run(made("v100", Path("/home/me/.cache/engines")))) + "\n")


@pytest.mark.parametrize("gpu", ["v100", "cpu"])
def test_the_compose_file(gpu):
    """A YAML reader finds what the line says; on the CPU nothing is mounted at all."""
    of = made(gpu, Path("/home/me/.cache/engines") if gpu == "v100" else None)
    check_golden(f"{gpu}-s3.yaml", compose(of))
    service = yaml.safe_load(compose(of))["services"]["triton"]
    assert service["environment"] == list(S3_VARIABLES)
    assert service["command"] == list(of.command)
    assert f"--model-repository={URL}" in service["command"]
    assert [volume["target"] for volume in service.get("volumes", ())] == (["/cache"] if gpu == "v100" else [])


def source(folder, address):
    """A repository in S3 whose configs are in a folder."""
    return Source(folder, address, S3Url("models", "prod"))


def test_an_s3_that_a_container_does_not_reach(tmp_path):
    """Its loopback is another; a bucket of AWS is reached from everywhere."""
    with_variants(tmp_path, "net")
    for host in ("localhost", "127.0.0.1", "127.1.2.3"):
        with pytest.raises(BadValue, match=f"^repository s3://models/prod: {host} is another host inside"):
            engine.planned(source(tmp_path, f"s3://http://{host}:9000/models/prod"), Ports(), docker_options("cpu"))
    of, _ = engine.planned(source(tmp_path, "s3://localhost-models/prod"), Ports(), docker_options("cpu"))
    assert "--model-repository=s3://localhost-models/prod" in of.command


def test_credentials_that_are_not_there(tmp_path, monkeypatch):
    """Said before the start; a profile of this user's is not the container's."""
    with_variants(tmp_path, "net")
    options = docker_options("cpu")
    of, configs = engine.planned(source(tmp_path, URL), Ports(), options)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    (said,) = engine.notes(of, options, configs, None, [])
    assert said.startswith("AWS_ACCESS_KEY_ID is not set: ")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    assert list(engine.notes(of, options, configs, None, [])) == []


def test_what_is_printed_and_written(tmp_path, monkeypatch, capsys):
    """The line, and the compose file; the engines' folder is prepared."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with_variants(tmp_path / "models", "net", variant="v100-fp32")
    repository = source(tmp_path / "models", URL)
    options = docker_options("v100", "fp32")
    assert write_container(repository, Ports(), options, None) == 0
    assert " -e AWS_ACCESS_KEY_ID " in capsys.readouterr().out
    assert write_container(repository, Ports(), options, tmp_path / "compose.yaml") == 0
    assert f"--model-repository={URL}" in (tmp_path / "compose.yaml").read_text()


def test_what_a_call_refuses(s3, tmp_path, tritongen):
    """Moto listens on loopback, which a container does not reach; a variant that is not there."""
    with_variants(tmp_path / "models", "net")
    s3.upload(tmp_path / "models")
    ran = tritongen("serve", s3.url(), "--engine", "docker", "--gpu", "t4", "--print")
    assert ran.status == 2
    assert "127.0.0.1 is another host inside the container" in ran.stderr
    ran = tritongen("serve", s3.url(), "--engine", "docker", "--gpu", "v100", "--print")
    assert "error: --gpu v100-fp16: no model in s3://" in ran.stderr
