"""The docker engine, with a fake program named docker: no Docker runs here."""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys

import pytest
import yaml
from helpers import SMALL_CONFIG, run_program, write_model

from generator.errors import BadValue, EngineMissing, RepositoryNotFound, ServerFailed, TritongenError
from generator.repository.source import of_folder
from generator.server.docker import engine, engine_cache
from generator.server.docker.container import docker_options
from generator.server.ports import Ports, free_ports

TENSORRT = """
optimization { execution_accelerators { gpu_execution_accelerator {
  name: "tensorrt"
  parameters { key: "trt_engine_cache_path" value: "/cache/NAME-fp16" }
  parameters { key: "trt_engine_cache_prefix" value: "NAME-0123" }
} } }
"""


def with_variants(repository, *names, variant="t4-fp16"):
    """Write models that have a config for a GPU."""
    for name in names:
        folder = write_model(repository, name)
        (folder / "configs").mkdir()
        (folder / "configs" / f"{variant}.pbtxt").write_text(SMALL_CONFIG + TENSORRT.replace("NAME", name))
    return repository


@pytest.fixture(name="cache_home")
def _cache_home(tmp_path, monkeypatch):
    """Use an own cache for the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tritongen" / "tensorrt"


def plan(repository, options):
    """Plan the container of a folder."""
    return engine.plan(of_folder(repository), Ports(), options)


def test_engine_folder_is_prepared(tmp_path, cache_home):
    """Every user may write to the folder, which lies in a folder that other users cannot enter."""
    with_variants(tmp_path / "repository", "net")
    plan(tmp_path / "repository", docker_options("t4", "fp16"))
    assert (cache_home / "24.09-t4").stat().st_mode & 0o777 == 0o777
    assert cache_home.stat().st_mode & 0o777 == 0o700
    plan(tmp_path / "repository", docker_options("cpu"))
    assert [path.name for path in cache_home.iterdir()] == ["24.09-t4"]


@pytest.mark.usefixtures("cache_home")
def test_missing_engines_are_noted(tmp_path):
    """An engine is missing if no file in the folder has its prefix; a changed model has a different prefix."""
    repository = with_variants(tmp_path / "repository", "one", "two", "three")
    write_model(repository, "plain")
    options = docker_options("t4", "fp16")
    cache = plan(repository, options).cache
    for name, file in (("one", "one-0123_99_0_fp16_sm75.engine"), ("two", "two-4567_99_0_fp16_sm75.engine")):
        (cache / f"{name}-fp16").mkdir()
        (cache / f"{name}-fp16" / file).touch()
    planned = plan(repository, options)
    assert planned.missing_engines == ["three", "two"]
    assert planned.notes == (
        "served with config.pbtxt, without configs/t4-fp16.pbtxt: plain",
        f"2 TensorRT engines will be built, which takes minutes: three, two ({cache})",
    )
    engine_cache.remember_start(cache, 723.4, 3)
    text = "every TensorRT engine is in the cache"
    assert engine_cache.expected_start(cache, []) == f"{text}; the last start took 12 min 3 s with 3 engines to build"
    engine_cache.start_record(cache).write_text("{}")
    assert engine_cache.expected_start(cache, []) == text


def test_engine_path_cannot_leave_the_cache(tmp_path, cache_home):
    """A config whose engine path leaves /cache counts as one without an engine."""
    repository = with_variants(tmp_path / "repository", "net")
    config = repository / "net" / "configs" / "t4-fp16.pbtxt"
    (cache_home / "other").mkdir(parents=True)
    (cache_home / "other" / "net-0123.engine").touch()
    config.write_text(config.read_text().replace("/cache/net-fp16", "/cache/../other"))
    assert plan(repository, docker_options("t4", "fp16")).missing_engines == ["net"]


@pytest.mark.usefixtures("cache_home")
def test_repositories_that_a_container_cannot_serve(tmp_path):
    """A missing variant, unreadable files, a link to the outside, a colon in the path."""
    repository = with_variants(tmp_path / "repository", "net")
    with pytest.raises(BadValue, match=r"no model in .* has configs/v100-fp32.pbtxt") as caught:
        plan(repository, docker_options("v100", "fp32"))
    assert caught.value.hint == "variants: t4-fp16"
    planned = plan(with_variants(tmp_path / "a:b", "net"), docker_options("t4", "fp16"))
    with pytest.raises(TritongenError, match=r"docker cannot mount .*a:b: the path has a colon"):
        engine.check_mountable(planned.container)
    (repository / "linked").symlink_to(tmp_path / "a:b" / "net")
    with pytest.raises(RepositoryNotFound, match=r"linked is a link to a place outside it"):
        plan(repository, docker_options("t4", "fp16"))
    (repository / "linked").unlink()
    (repository / "net" / "1" / "model.onnx").chmod(0o600)
    with pytest.raises(RepositoryNotFound, match=r"user 1000 cannot read .*model.onnx") as caught:
        plan(repository, docker_options("t4", "fp16"))
    assert caught.value.hint == f"chmod -R o+rX {repository}"


FAKE = """#!/bin/sh
echo "$@" >> {calls}
case "$1" in
  version) echo 28.0;;
  ps) {ps};;
  run) {run};;
  stop) {stop};;
esac
"""


@pytest.fixture(name="fake_docker")
def _fake_docker(tmp_path, monkeypatch, cache_home):  # noqa: ARG001 (engines are kept in the cache of the test)
    """Install a fake program named docker that records its calls; the test gives the code of `docker run`."""

    def install(run, ps="true", stop="true"):
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(FAKE.format(calls=tmp_path / "calls", run=run, ps=ps, stop=stop))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return tmp_path / "calls"

    return install


def test_container_refuses_a_model(fake_docker, tmp_path, cache_home):
    """(Fake docker.) The error has the reason from the container's log; the container is stopped."""
    calls = fake_docker(
        """echo "E1124 05:17:43.3 1 x.cc:1] \\"failed to load 'net' version 1: Internal: no engine\\""; exit 1"""
    )
    with_variants(tmp_path / "repository", "net")
    ports = free_ports()
    serving = engine.serve(tmp_path / "repository", options=docker_options("t4", "fp16"), ports=ports)
    with pytest.raises(ServerFailed, match=r"^Triton refused net: Internal: no engine$"), serving:
        pytest.fail("it is not ready")
    assert f"stop -t 30 tritongen-{ports.grpc}" in calls.read_text()
    assert [path.name for path in cache_home.iterdir()] == ["24.09-t4"]


def test_docker_fails(fake_docker, tmp_path):
    """(Fake docker.) The error has docker's own message."""
    fake_docker("echo 'docker: Error response from daemon: could not select device driver' >&2; exit 125")
    write_model(tmp_path / "repository", "net")
    serving = engine.serve(tmp_path / "repository", options=docker_options("cpu"), ports=free_ports())
    with pytest.raises(ServerFailed, match="could not select device driver"), serving:
        pytest.fail("it is not ready")


def test_container_of_a_killed_serve_is_reported(fake_docker, tmp_path):
    """(Fake docker.) The error names the container, and the hint the command that removes it."""
    fake_docker("exit 1", ps="echo 0123456789ab")
    write_model(tmp_path / "repository", "net")
    serving = engine.serve(tmp_path / "repository", options=docker_options("cpu"), ports=Ports())
    with pytest.raises(TritongenError, match="a container named tritongen-8001 exists already") as caught, serving:
        pytest.fail("it is not started")
    assert caught.value.hint == "`docker rm --force tritongen-8001` removes it"


# A fake of Triton: it answers at the HTTP port of the docker command.
ANSWERS = """
import http.server, re, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("I1124 05:17:43.3 1 model.cc:1] building an engine", flush=True)
port = int(re.search(r"127.0.0.1:(\\d+):8000", " ".join(sys.argv)).group(1))
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", port), Ready).serve_forever()
"""


def test_start_of_a_container(fake_docker, tmp_path, cache_home, caplog):
    """(Fake docker.) Engines and the log are logged, the duration is stored, the end stops the container."""
    (tmp_path / "answers.py").write_text(ANSWERS)
    calls = fake_docker(f'exec {sys.executable} {tmp_path / "answers.py"} "$@"')
    with_variants(tmp_path / "repository", "one", "two")
    ports = free_ports()
    caplog.set_level("INFO", "generator")
    with engine.serve(
        tmp_path / "repository",
        options=docker_options("t4", "fp16"),
        ports=ports,
        log_level=logging.INFO,
    ) as server:
        assert server.child.status() is None
    assert "2 TensorRT engines will be built, which takes minutes: one, two" in caplog.messages[0]
    assert any("building an engine" in message for message in caplog.messages)
    assert json.loads((cache_home / "24.09-t4.json").read_text())["engines_built"] == 2
    assert calls.read_text().splitlines()[-1] == f"stop -t 30 tritongen-{ports.grpc}"
    assert server.child.status() is not None


def test_ctrl_c_before_ready(fake_docker, tmp_path):
    """(Fake docker.) Ctrl-C stops a container that is not ready yet; the exit status is 130."""
    calls = fake_docker("echo building; exec sleep 600")
    write_model(tmp_path / "repository", "net")
    ports = free_ports()
    command = [sys.executable, "-m", "tritongen", "serve", "repository", "--engine", "docker", "--gpu", "cpu"]
    command += [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line == "building\n":
                break
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith("error: interrupted\n")
    assert process.returncode == 130
    assert f"stop -t 30 tritongen-{ports.grpc}" in calls.read_text()


def test_no_docker_engine(monkeypatch, tmp_path):
    """Without docker on PATH, the hint is to use the embedded engine or to print the command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="no Docker engine answers") as caught:
        engine.check_engine()
    assert "`print_only`" in caught.value.hint


def fake_nvidia_smi(folder, *names):
    """Install a fake nvidia-smi that reports these GPUs."""
    rows = [f"{index}, GPU-{index}aaa, {name}" for index, name in enumerate(names)]
    program = folder / "bin" / "nvidia-smi"
    whole, short = "\\n".join(rows), "\\n".join(names)
    program.write_text(f"#!/bin/sh\ncase $1 in *index*) printf '{whole}\\n';; *) printf '{short}\\n';; esac\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("names", "arguments", "sentence"),
    [
        (["Tesla T4"], "--gpu v100", "--gpu v100: GPU 0 of this machine is Tesla T4"),
        (["NVIDIA A100-SXM4-40GB"], "--gpu v100", "--gpu v100: GPU 0 of this machine is NVIDIA A100-SXM4-40GB"),
        (["Tesla V100-SXM2-16GB", "Tesla T4"], "--gpu v100 --device 1", "GPU 1 of this machine is Tesla T4"),
        (["Tesla T4", "Tesla V100-SXM2-16GB"], "--gpu v100", "--gpu v100: GPU 0 of this machine is Tesla T4"),
        (["Tesla T4"], "--gpu v100 --device GPU-0a", "--gpu v100: GPU GPU-0a of this machine is Tesla T4"),
        (["Tesla V100-SXM2-16GB"], "--gpu v100 --device 7", "--device 7: no such GPU; this machine has Tesla V100"),
    ],
)
def test_gpu_that_is_not_the_target_is_refused(tmp_path, fake_docker, names, arguments, sentence):
    """(Fake docker and nvidia-smi.) Images and engines of a V100 do not run on other GPUs."""
    fake_docker("exit 1")
    fake_nvidia_smi(tmp_path, *names)
    with_variants(tmp_path / "repository", "net", variant="v100-fp16")
    ran = run_program("serve", "repository", "--engine", "docker", *arguments.split(), cwd=tmp_path)
    assert ran.status == 2
    assert sentence in ran.stderr


def test_gpu_of_this_machine_selects_the_variant(tmp_path, fake_docker):
    """(Fake docker and nvidia-smi.) Without --gpu, the variant of the machine's GPU is served if it exists."""
    fake_docker("exit 1")
    fake_nvidia_smi(tmp_path, "NVIDIA A100-SXM4-40GB", "Tesla T4")
    with_variants(tmp_path / "repository", "net")
    write_model(tmp_path / "plain", "net")
    lines = [
        run_program("serve", *call.split(), "--print", cwd=tmp_path).stdout
        for call in ("repository --device 1", "repository", "plain --device 1")
    ]
    assert ["--model-config-name=t4-fp16" in line for line in lines] == [True, False, False]
    assert all("docker run" in line for line in lines)


@pytest.mark.parametrize("address", ["localhost", "999.1.1.1", "10.0.0.0/8", "fe80::1%eth0", ""])
def test_invalid_addresses(tritongen, tmp_path, address):
    """An address that docker does not accept is refused before the start."""
    write_model(tmp_path / "model_repository", "net")
    ran = tritongen("serve", "--engine", "docker", "--gpu", "cpu", "--address", address, "--print")
    assert (ran.status, ran.stdout) == (2, "")
    assert f"--address {address!r}: " in ran.stderr


def test_print_and_compose(tritongen, tmp_path, cache_home):
    """Only the command is on stdout; a different compose file is not overwritten."""
    with_variants(tmp_path / "model_repository", "net")
    call = ("serve", "--engine", "docker", "--gpu", "t4", "--precision", "fp16")
    printed = tritongen(*call, "--print")
    assert printed.status == 0
    line = shlex.split(printed.stdout)
    assert line[:2] == ["docker", "run"]
    assert f"{tmp_path}/model_repository:/models:ro" in line
    assert "a TensorRT engine will be built, which takes minutes: net" in printed.stderr
    assert (cache_home / "24.09-t4").is_dir()
    for _ in range(2):
        assert tritongen(*call, "--compose", "compose.yaml").status == 0
    written = (tmp_path / "compose.yaml").read_text()
    assert tritongen(*call, "--compose", "-").stdout == written
    assert yaml.safe_load(written)["services"]["triton"]["image"].endswith("24.09-py3")
    (tmp_path / "compose.yaml").write_text(written + "# mine\n")
    ran = tritongen(*call, "--compose", "compose.yaml")
    assert ran.status == 2
    assert "--compose compose.yaml: a different file exists there" in ran.stderr
    assert (tmp_path / "compose.yaml").read_text() == written + "# mine\n"
    ran = tritongen(*call, "--compose", "compose.yaml/below.yaml")
    assert (ran.status, "cannot write compose.yaml/below.yaml" in ran.stderr) == (1, True)
    assert tritongen(*call, "--compose", "other.yaml", "--print").status == 2
    assert not (tmp_path / "other.yaml").exists()
