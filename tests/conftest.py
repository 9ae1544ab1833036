"""Fixtures of several files: the program in an empty folder, repositories and servers, files of ONNX."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers import Ran, Serving, only, run_program, serving, small_onnx, wait_for_stopped_servers, write_model

import tritongen
from generator.graph.header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A thread of torch that waits sleeps: with two workers on two cores, those that spin take the time of those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for the workers of `--dist=loadgroup`, and put the groups that take longest first.

    A group runs in one worker. The tests that use the same built networks are one group, since building and serving
    those takes a while. The tests that measure are one group, so that no two measure at a time. Each test of killed
    builds is a group, since it takes minutes. Of the others each file is a group.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: (FIRST.get(group_of(item), len(FIRST)), not item.get_closest_marker("server")))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check that the groups are made."""
    grouped = session.config.getoption("loadgroup", default=False)
    if grouped and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("pytest-xdist did not group the tests: install the versions of pyproject.toml")


def pytest_sessionfinish() -> None:
    """Wait for the servers that are ending."""
    wait_for_stopped_servers()


FIRST = {"networks": 0, "measurements": 1}
MEASURING = {"test_perf_server.py", "test_perf_disturbed_server.py"}


def group_of(item: pytest.Item) -> str:
    """Return the name of a test's group."""
    if "two_networks" in getattr(item, "fixturenames", ()):
        return "networks"
    if item.path.name in MEASURING:
        return "measurements"
    return item.name if item.path.name == "test_killed_builds.py" else item.path.stem


@pytest.fixture(name="tritongen")
def _tritongen(tmp_path: Path) -> Callable[..., Ran]:
    """The program, called in an empty folder."""
    return lambda *arguments, env=None: run_program(*arguments, cwd=tmp_path, env=env)


@pytest.fixture(scope="session")
def two_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a DenseNet and a DPN, built as a user builds it; test_ten_networks.py has all ten."""
    folder = tmp_path_factory.mktemp("two")
    done = run_program("build", "--models", "densenet121,dpn68", "--precision", "fp16", cwd=folder)
    assert done.status == 0, done.stderr
    return folder / "model_repository"


@pytest.fixture(scope="session")
def server(two_networks: Path) -> Iterator[Serving]:
    """A real Triton with the two networks."""
    with serving(two_networks) as running:
        yield running


@pytest.fixture(name="small", scope="module")
def _small(tmp_path_factory):
    """A repository of three tiny models."""
    repository = tmp_path_factory.mktemp("small") / "model_repository"
    for name in ("one", "three", "two"):
        write_model(repository, name)
    return repository


@pytest.fixture(name="small_server", scope="module")
def _small_server(small):
    """A server of the three tiny models."""
    with serving(small) as running:
        yield running


@pytest.fixture(name="build")
def _build(tmp_path, monkeypatch):
    """Build a graph from a file; return the built model or raise its error."""
    monkeypatch.chdir(tmp_path)

    def build(model, *inputs, file="model.onnx", **options):
        if model is not None:
            Path(file).write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        report = tritongen.build(tritongen.onnx_network(file, options.pop("name", None), inputs), **options)
        if report.failed:
            raise next(iter(report.failed.values()))
        return report.built[0]

    return build


@pytest.fixture(name="read")
def _read(tmp_path):
    """The header of a file with these bytes."""

    def read(content):
        (tmp_path / "model.onnx").write_bytes(content)
        return read_header(tmp_path / "model.onnx")

    return read


@pytest.fixture(name="warm_weights", scope="session")
def _warm_weights(tmp_path_factory):
    """Import what the first load of weights imports, so that a test sees its own file only."""
    from weights_samples import BY_NAME, TINY_DENSENET, as_paddle, state_dict, write

    from generator.errors import WeightsUnusable
    from generator.weights.load import load

    folder = tmp_path_factory.mktemp("warm")
    state = state_dict(TINY_DENSENET)
    for container in ("torch zip", "torch legacy", "safetensors"):
        load(TINY_DENSENET, write(folder / container, state, container))
    load(TINY_DENSENET, write(folder / "paddle", as_paddle(TINY_DENSENET, state), "Paddle pickle 4"))
    with pytest.raises(WeightsUnusable):
        load(BY_NAME["dpn68"], folder / "paddle")


@pytest.fixture(name="states", scope="session")
def _states(tmp_path_factory):
    """Repositories of four small networks: an old build and a new one."""
    from tiny_networks import FOUR

    folder = tmp_path_factory.mktemp("states")
    for name, seed in (("old", 1), ("new", 2)):
        assert tritongen.build(FOUR, output=folder / name, seed=seed, jobs=1).failed == {}
    return folder / "old", folder / "new"


@pytest.fixture(name="moto", scope="session")
def _moto():
    """An S3 server."""
    from s3_server import Moto

    moto = Moto()
    yield moto
    moto.server.stop()


@pytest.fixture(name="s3")
def _s3(moto, tmp_path, monkeypatch):
    """A bucket, the usual environment for it, and a cache for the test."""
    from s3_server import KEYS

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": moto.endpoint}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return moto.bucket()


@pytest.fixture(name="networks")
def _networks(tmp_path):
    """Two ONNX files as networks, and a file of their classes."""
    (tmp_path / "labels.txt").write_text("\n".join(f"class {number}" for number in range(1000)))
    for name in ("one", "two"):
        (tmp_path / f"{name}.onnx").write_bytes(small_onnx().SerializeToString())
    return [tritongen.onnx_network(str(tmp_path / f"{name}.onnx")) for name in ("one", "two")]


@pytest.fixture(name="built")
def _built(s3, networks, tmp_path):
    """Build the first network into S3 and forget the requests so far; return a function that builds it again."""
    labels = tmp_path / "labels.txt"
    assert tritongen.build(networks[0], output=s3.url(), labels=labels).failed == {}
    s3.requests.clear()
    return lambda **options: only(tritongen.build(networks[0], output=s3.url(), **{"labels": labels, **options}))
