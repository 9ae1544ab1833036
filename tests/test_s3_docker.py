"""The docker engine with a repository in S3, compared with golden files: no Docker runs here."""

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
from generator.server.docker.container import S3_VARIABLES, compose, docker_options, docker_run, make_container
from generator.server.ports import Ports

URL = "s3://http://minio.example:9000/models/prod"


def container_of(gpu, cache):
    """Make the container of a GPU."""
    return make_container(URL, cache, Ports(), docker_options(gpu, "fp32"))


def test_docker_command():
    """Only the engines are mounted; the credentials are named, and their values are not written."""
    check_golden(
        "v100-fp32-s3.txt", shlex.join(docker_run(container_of("v100", Path("/home/me/.cache/engines")))) + "\n"
    )


@pytest.mark.parametrize("gpu", ["v100", "cpu"])
def test_compose_file(gpu):
    """The YAML has the values of the container; on the CPU nothing is mounted."""
    container = container_of(gpu, Path("/home/me/.cache/engines") if gpu == "v100" else None)
    check_golden(f"{gpu}-s3.yaml", compose(container))
    service = yaml.safe_load(compose(container))["services"]["triton"]
    assert service["environment"] == list(S3_VARIABLES)
    assert service["command"] == list(container.command)
    assert f"--model-repository={URL}" in service["command"]
    assert [volume["target"] for volume in service.get("volumes", ())] == (["/cache"] if gpu == "v100" else [])


def source(folder, address):
    """Return a repository in S3 with its configs in a folder."""
    return Source(folder, address, S3Url("models", "prod"))


def test_s3_on_loopback_is_refused(tmp_path):
    """Loopback in a container is the container itself; a bucket of AWS is reached from everywhere."""
    with_variants(tmp_path, "net")
    for host in ("localhost", "127.0.0.1", "127.1.2.3"):
        with pytest.raises(BadValue, match=f"^repository=s3://models/prod: {host} is another host inside"):
            engine.plan(source(tmp_path, f"s3://http://{host}:9000/models/prod"), Ports(), docker_options("cpu"))
    planned = engine.plan(source(tmp_path, "s3://localhost-models/prod"), Ports(), docker_options("cpu"))
    assert "--model-repository=s3://localhost-models/prod" in planned.container.command


def test_missing_credentials_are_noted(tmp_path, monkeypatch):
    """The plan notes that the container has no credentials; it cannot read the profiles of this user."""
    with_variants(tmp_path, "net")
    options = docker_options("cpu")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    (note,) = engine.plan(source(tmp_path, URL), Ports(), options).notes
    assert note.startswith("AWS_ACCESS_KEY_ID is not set: ")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    assert engine.plan(source(tmp_path, URL), Ports(), options).notes == ()


def test_print_and_compose(tmp_path, monkeypatch, capsys):
    """The printed command and the compose file have the URL and the names of the credentials."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with_variants(tmp_path / "models", "net", variant="v100-fp32")
    repository = source(tmp_path / "models", URL)
    options = docker_options("v100", "fp32")
    assert write_container(repository, Ports(), options, None) == 0
    assert " -e AWS_ACCESS_KEY_ID " in capsys.readouterr().out
    assert write_container(repository, Ports(), options, tmp_path / "compose.yaml") == 0
    assert f"--model-repository={URL}" in (tmp_path / "compose.yaml").read_text()


def test_refused_calls(s3, tmp_path, tritongen):
    """An S3 server on loopback, and a variant that no model has."""
    with_variants(tmp_path / "models", "net")
    s3.upload(tmp_path / "models")
    ran = tritongen("serve", s3.url(), "--engine", "docker", "--gpu", "t4", "--print")
    assert ran.status == 2
    assert "127.0.0.1 is another host inside the container" in ran.stderr
    ran = tritongen("serve", s3.url(), "--engine", "docker", "--gpu", "v100", "--print")
    assert "error: --gpu v100-fp16: no model in s3://" in ran.stderr
