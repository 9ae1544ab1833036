"""Fixtures of several files: the program in an empty folder, repositories and servers, files of ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers import Ran, Serving, run_program, serving, write_model

import generator
from generator.onnx_header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="tritongen")
def _tritongen(tmp_path: Path) -> Callable[..., Ran]:
    """The program, called in an empty folder."""
    return lambda *arguments, env=None: run_program(*arguments, cwd=tmp_path, env=env)


@pytest.fixture(scope="session")
def all_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all ten networks, built as a user builds it."""
    folder = tmp_path_factory.mktemp("all")
    done = run_program("build", "--models", "all", "--precision", "fp16", cwd=folder)
    assert done.status == 0, done.stderr
    return folder / "model_repository"


@pytest.fixture(scope="session")
def server(all_models: Path) -> Iterator[Serving]:
    """A real Triton with all ten networks."""
    with serving(all_models) as running:
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
    """A server of those."""
    with serving(small) as running:
        yield running


@pytest.fixture(name="build")
def _build(tmp_path, monkeypatch):
    """Build a graph as a file of its own would be; what was built, or what was said."""
    monkeypatch.chdir(tmp_path)

    def build(model, *inputs, file="model.onnx", **options):
        if model is not None:
            Path(file).write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        report = generator.build(generator.onnx_network(file, options.pop("name", None), inputs), **options)
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
