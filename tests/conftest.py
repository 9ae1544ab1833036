"""Fixtures: the program in an empty folder, and all ten networks built and served once a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers import Ran, Serving, run_program, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
