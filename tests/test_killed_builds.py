"""Builds that are killed at any moment: every model is the old one, the new one, or not there."""

import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import onnxruntime
import pytest
from fork_server import Process
from helpers import ROOT, contents, run_python, small_onnx
from s3_server import LOCK
from test_worker_pool import BUILD_FOUR
from tiny_networks import FOUR, of

import tritongen

KILLS = 6
KILLS_IN_S3 = 8
NEW = BUILD_FOUR.replace("output=", "seed=2, output=")
NAMES = ("one", "two")
# A build in this process that kills itself before a write below the repository's folder, or counts its writes.
KILLED_AT = """
import os, signal, sys, tritongen
models, sources, moment = sys.argv[1:]
place = os.path.dirname(models)
writes = 0
def watch(event, arguments):
    global writes
    if event == "open":
        path, _, flags = arguments
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return
    elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"):
        path = arguments[0]
    else:
        return
    if isinstance(path, (str, os.PathLike)) and str(path).startswith(place):
        if writes == int(moment):
            os.kill(os.getpid(), signal.SIGKILL)
        writes += 1
networks = [tritongen.onnx_network(os.path.join(sources, f"{name}.onnx")) for name in ("one", "two")]
sys.addaudithook(watch)
assert tritongen.build(networks, output=models, jobs=1).failed == {}
print(writes)
"""


def start(text, *arguments):
    """Start a Python program in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return Process(["-c", text, *map(str, arguments)], sys.stderr.fileno(), sys.stderr.fileno(), cwd=str(ROOT / "tests"),
                   environment=environment, new_session=True)  # fmt: skip


@pytest.fixture(name="sources", scope="module")
def _sources(tmp_path_factory):
    """Folders of two ONNX files each: their first state and their second one."""
    folder = tmp_path_factory.mktemp("sources")
    for state, classes in (("old", 10), ("new", 20)):
        (folder / state).mkdir()
        for name in NAMES:
            (folder / state / f"{name}.onnx").write_bytes(small_onnx(classes=classes).SerializeToString())
    return folder


def build(sources, repository):
    """Build both files of a folder in this process."""
    networks = [tritongen.onnx_network(str(sources / f"{name}.onnx")) for name in NAMES]
    assert tritongen.build(networks, output=repository, jobs=1).failed == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["nothing there", "models there"])
def test_killed_before_each_write(tmp_path, sources, first):
    """SIGKILL before each file is opened, moved or removed: each model is whole, and the next build completes them."""
    for state in ("old", "new"):
        build(sources / state, tmp_path / state / "models")
    old, new = ({} if first else contents(tmp_path / "old" / "models")), contents(tmp_path / "new" / "models")

    def killed(moment):
        repository = tmp_path / str(moment) / "models"
        repository.parent.mkdir()
        if not first:
            shutil.copytree(tmp_path / "old" / "models", repository)
        return repository, run_python("-c", KILLED_AT, repository, sources / "new", moment, cwd=tmp_path)

    repository, whole = killed(-1)
    assert contents(repository) == new, whole.stderr
    states = set()
    for moment in range(int(whole.stdout)):
        repository, ran = killed(moment)
        assert ran.status == -signal.SIGKILL, ran.stderr
        found = contents(repository) if repository.exists() else {}
        models = [files_of(found, name) for name in NAMES]
        for name, files in zip(NAMES, models, strict=True):
            assert files in (files_of(old, name), files_of(new, name)), moment
            if files:
                onnxruntime.InferenceSession(files[f"{name}/1/model.onnx"])
        states.add(tuple(files == files_of(new, name) for name, files in zip(NAMES, models, strict=True)))
        build(sources / "new", repository)
        assert contents(repository) == new
        assert [path.name for path in repository.parent.iterdir()] == ["models"]
        shutil.rmtree(repository.parent)
    assert {(False, False), (True, True)} < states  # and one between the two models


def files_of(files, name):
    """Return the files of one model."""
    return {path: content for path, content in files.items() if Path(path).parts[0] == name}


@pytest.fixture(name="undisturbed_s", scope="module")
def _undisturbed_s(tmp_path_factory):
    """How long a build takes here."""
    begin = time.monotonic()
    assert start(NEW, tmp_path_factory.mktemp("timed") / "models", 2).wait() == 0
    return time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["nothing there", "models there"])
def test_killed_at_random_moments(tmp_path, states, undisturbed_s, first):
    """SIGKILL to the process group with two workers: what is there loads; the next build makes the same bytes and cleans up."""
    old, new = map(contents, states)
    moments = random.Random(0)  # noqa: S311 (moments, no keys)
    killed = attempts = 0
    while killed < KILLS:
        repository = tmp_path / str(attempts) / "models"
        repository.parent.mkdir()
        attempts += 1
        if not first:
            shutil.copytree(states[0], repository)
        build = start(NEW, repository, 2)
        # One moment in each part of a build.
        after_s = undisturbed_s * (0.3 + 0.7 * (killed + moments.random()) / KILLS)
        time.sleep(after_s)
        build.poll()
        with suppress(ProcessLookupError):  # it may have ended
            os.killpg(build.pid, signal.SIGKILL)
        if build.wait() == -signal.SIGKILL:
            killed += 1
        else:
            undisturbed_s *= 0.8  # the machine is faster now than when a build was timed
        found = contents(repository) if repository.exists() else {}
        for network in FOUR:
            model = of(found, network)
            assert model in ([{}, of(new, network)] if first else [of(old, network), of(new, network)]), (
                killed,
                after_s,
            )
            if model:
                onnxruntime.InferenceSession(model[f"{network.name}/1/model.onnx"])
        assert tritongen.build(FOUR, output=repository, seed=2, jobs=1).failed == {}
        assert contents(repository) == new
        assert [path.name for path in repository.parent.iterdir()] == ["models"]


IN_S3 = NEW.replace(
    "import sys,",
    "import sys, generator.repository.s3.lease; generator.repository.s3.lease.LEASE_S = 3.0; generator.repository.s3.lease.RENEWED_EVERY_S = 0.3; import",
)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["nothing there", "models there"])
def test_killed_while_it_writes_to_s3(s3, tmp_path, states, monkeypatch, first):
    """Each object is old or new, and a config is there only with the objects that it names."""
    old, new = map(contents, states)
    monkeypatch.setattr("generator.repository.s3.lease.LEASE_S", 3.0)
    monkeypatch.setattr("generator.repository.s3.lease.RENEWED_EVERY_S", 0.3)
    seen = set()
    for number in range(KILLS_IN_S3 // 2):
        # Uploads are the last tenth of a build. It is killed some objects after it has begun with them.
        objects = number * len(new) // (KILLS_IN_S3 // 2)
        prefix = f"models-{number}"
        if not first:
            s3.upload(states[0], prefix)
        s3.requests.clear()
        build = start(IN_S3, s3.url(prefix), 1)
        while build.poll() is None and len(s3.written()) <= objects:
            time.sleep(0.005)
        with suppress(ProcessLookupError):  # the last objects come quickly
            os.killpg(build.pid, signal.SIGKILL)
        build.wait()
        found = {name: content for name, content in s3.contents(prefix).items() if name != LOCK}
        assert all(content in (old.get(name), new[name]) for name, content in found.items())
        for network in FOUR:
            model = of(found, network)
            if first and f"{network.name}/config.pbtxt" in model:
                assert model == of(new, network)
            if f"{network.name}/1/model.onnx" in model:
                onnxruntime.InferenceSession(model[f"{network.name}/1/model.onnx"])
        seen.add(sum(content == new[name] for name, content in found.items()))
        time.sleep(4)  # its lock is void then
        assert tritongen.build(FOUR, output=s3.url(prefix), seed=2, jobs=1).failed == {}
        assert s3.contents(prefix) == new
        assert not list((tmp_path / "cache" / "tritongen" / "staging").iterdir())
    assert len(seen) > KILLS_IN_S3 // 4
