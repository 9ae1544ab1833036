"""The docker engine. No Docker runs here: a program named docker stands in for it."""

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
    """Models that have a config for a GPU."""
    for name in names:
        folder = write_model(repository, name)
        (folder / "configs").mkdir()
        (folder / "configs" / f"{variant}.pbtxt").write_text(SMALL_CONFIG + TENSORRT.replace("NAME", name))
    return repository


@pytest.fixture(name="cache_home")
def _cache_home(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tritongen" / "tensorrt"


def planned(repository, options):
    """The container of a folder, and its configs."""
    return engine.planned(of_folder(repository), Ports(), options)


def test_the_folder_for_engines(tmp_path, cache_home):
    """Made before Docker makes it as root's: writable for any user, in a folder that other users cannot enter."""
    with_variants(tmp_path / "repository", "net")
    planned(tmp_path / "repository", docker_options("t4", "fp16"))
    assert (cache_home / "24.09-t4").stat().st_mode & 0o777 == 0o777
    assert cache_home.stat().st_mode & 0o777 == 0o700
    planned(tmp_path / "repository", docker_options("cpu"))
    assert [path.name for path in cache_home.iterdir()] == ["24.09-t4"]


@pytest.mark.usefixtures("cache_home")
def test_which_engines_will_be_built(tmp_path):
    """Those whose prefix no file in the folder has; a changed model has another prefix."""
    repository = with_variants(tmp_path / "repository", "one", "two", "three")
    write_model(repository, "plain")
    options = docker_options("t4", "fp16")
    of, configs = planned(repository, options)
    cache = engine_cache.folder(options)
    for name, file in (("one", "one-0123_99_0_fp16_sm75.engine"), ("two", "two-4567_99_0_fp16_sm75.engine")):
        (cache / f"{name}-fp16").mkdir()
        (cache / f"{name}-fp16" / file).touch()
    missing = engine_cache.missing_engines(cache, configs)
    assert missing == ["three", "two"]
    assert list(engine.notes(of, options, configs, cache, missing)) == [
        "without configs/t4-fp16.pbtxt, so by config.pbtxt: plain",
        f"2 TensorRT engines will be built, which takes minutes: three, two ({cache})",
    ]
    engine_cache.remember_start(cache, 723.4, 3)
    assert engine_cache.expectation(cache, []) == (
        "every TensorRT engine is in the cache; the last start took 12 min 3 s with 3 engines to build"
    )
    engine_cache.record_of(cache).write_text("{}")
    assert engine_cache.last_start(cache) is None


def test_a_config_cannot_have_other_folders_read(tmp_path, cache_home):
    """A cache path that leaves /cache is one without engines."""
    repository = with_variants(tmp_path / "repository", "net")
    config = repository / "net" / "configs" / "t4-fp16.pbtxt"
    (cache_home / "other").mkdir(parents=True)
    (cache_home / "other" / "net-0123.engine").touch()
    config.write_text(config.read_text().replace("/cache/net-fp16", "/cache/../other"))
    options = docker_options("t4", "fp16")
    _, configs = planned(repository, options)
    assert engine_cache.missing_engines(engine_cache.folder(options), configs) == ["net"]


@pytest.mark.usefixtures("cache_home")
def test_repositories_that_a_container_cannot_serve(tmp_path):
    """No such variant, files its user cannot read, a colon in the path: said before Docker is asked."""
    repository = with_variants(tmp_path / "repository", "net")
    with pytest.raises(BadValue, match=r"no model in .* has configs/v100-fp32.pbtxt") as caught:
        planned(repository, docker_options("v100", "fp32"))
    assert caught.value.hint == "there: t4-fp16"
    of, _ = planned(with_variants(tmp_path / "a:b", "net"), docker_options("t4", "fp16"))
    with pytest.raises(TritongenError, match=r"docker cannot mount .*a:b: it has a colon"):
        engine.check_mountable(of)
    (repository / "linked").symlink_to(tmp_path / "a:b" / "net")
    with pytest.raises(RepositoryNotFound, match=r"linked leads out of it, and the container sees no other folder"):
        planned(repository, docker_options("t4", "fp16"))
    (repository / "linked").unlink()
    (repository / "net" / "1" / "model.onnx").chmod(0o600)
    with pytest.raises(RepositoryNotFound, match=r"user 1000 cannot read .*model.onnx") as caught:
        planned(repository, docker_options("t4", "fp16"))
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
def _fake_docker(tmp_path, monkeypatch, cache_home):  # noqa: ARG001 (no engine of a test is kept)
    """A program named docker, which is not Docker: it notes its calls, and `run` does what the test says."""

    def install(run, ps="true", stop="true"):
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(FAKE.format(calls=tmp_path / "calls", run=run, ps=ps, stop=stop))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return tmp_path / "calls"

    return install


def test_a_container_that_refuses_a_model(fake_docker, tmp_path, cache_home):
    """(Fake docker.) The container's log is read as the embedded server's is; it is stopped; no start is remembered."""
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


def test_docker_itself_fails(fake_docker, tmp_path):
    """(Fake docker.) Its own word is the reason."""
    fake_docker("echo 'docker: Error response from daemon: could not select device driver' >&2; exit 125")
    write_model(tmp_path / "repository", "net")
    serving = engine.serve(tmp_path / "repository", options=docker_options("cpu"), ports=free_ports())
    with pytest.raises(ServerFailed, match="could not select device driver"), serving:
        pytest.fail("it is not ready")


def test_a_container_that_was_left(fake_docker, tmp_path):
    """(Fake docker.) A `serve` that was killed leaves its container: said, with what stops it."""
    fake_docker("exit 1", ps="echo 0123456789ab")
    write_model(tmp_path / "repository", "net")
    serving = engine.serve(tmp_path / "repository", options=docker_options("cpu"), ports=Ports())
    with pytest.raises(TritongenError, match="there is a container tritongen-8001 already") as caught, serving:
        pytest.fail("it is not started")
    assert caught.value.hint == "`docker rm --force tritongen-8001` ends and removes it"


# Answers like Triton at the host's ports of the line, as Docker would; not Triton.
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


def test_a_start_from_its_log_to_ctrl_c(fake_docker, tmp_path, cache_home, caplog):
    """(Fake docker.) Engines are told, the log is shown, the start is remembered, Ctrl-C stops the container."""
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


def test_ctrl_c_while_engines_are_built(fake_docker, tmp_path):
    """(Fake docker.) The container that is not ready yet is stopped as well; status 130."""
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
    """No program, or one that finds no engine: said so, with what helps."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="no Docker engine answers") as caught:
        engine.check_engine()
    assert "`print_only`" in caught.value.hint


def fake_nvidia_smi(folder, *names):
    """A program named nvidia-smi, which is not NVIDIA's: it tells of these GPUs."""
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
        (["Tesla V100-SXM2-16GB"], "--gpu v100 --device 7", "--device 7: this machine has no such GPU: Tesla V100"),
    ],
)
def test_another_gpu_than_named(tmp_path, fake_docker, names, arguments, sentence):
    """(Fake docker and nvidia-smi.) A V100's images and engines are not for this GPU: said before the start."""
    fake_docker("exit 1")
    fake_nvidia_smi(tmp_path, *names)
    with_variants(tmp_path / "repository", "net", variant="v100-fp16")
    ran = run_program("serve", "repository", "--engine", "docker", *arguments.split(), cwd=tmp_path)
    assert ran.status == 2
    assert sentence in ran.stderr


def test_this_machines_gpu_is_served_its_config(tmp_path, fake_docker):
    """(Fake docker and nvidia-smi.) Without --gpu the variant of the GPU that is here, where the repository has it."""
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
def test_addresses_that_docker_does_not_take(tritongen, tmp_path, address):
    """Refused before anything is made."""
    write_model(tmp_path / "model_repository", "net")
    ran = tritongen("serve", "--engine", "docker", "--gpu", "cpu", "--address", address, "--print")
    assert (ran.status, ran.stdout) == (2, "")
    assert f"--address {address!r}: " in ran.stderr


def test_print_and_compose(tritongen, tmp_path, cache_home):
    """The line on stdout alone; a file that is there and is another stays."""
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
    ran = tritongen(*call, "--compose", "no/such/folder.yaml")
    assert (ran.status, "cannot write no/such/folder.yaml" in ran.stderr) == (1, True)
    assert tritongen(*call, "--compose", "other.yaml", "--print").status == 2
    assert not (tmp_path / "other.yaml").exists()
