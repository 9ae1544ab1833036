"""Progress of a build: a bar per model on a terminal, else a line per model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from generator.builder.pipeline import OUTCOMES, STEPS
from generator.commands import console

if TYPE_CHECKING:
    from generator.builder.worker_pool import OnStep
    from generator.networks.types import Network

logger = logging.getLogger(__name__)

MANY = 20  # more bars do not fit a terminal


@contextmanager
def build_progress(count: int) -> Iterator[OnStep]:
    """Show the progress of a number of models; `build` calls the yielded function at every step."""
    if console.shows_progress():
        with bars(count) as on_step:
            yield on_step
    else:
        yield line


def line(network: Network, step: str) -> None:
    """Log the outcome of a model."""
    if step in OUTCOMES:
        logger.info("%s: %s", network.name, step)


@contextmanager
def bars(count: int) -> Iterator[OnStep]:
    """Draw a bar for all models and one per begun model; if there are many models, the bar of a finished one goes."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[step]:<10}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.err()) as progress:
        total = progress.add_task("all", total=count, step=f"0 of {count}")
        tasks: dict[str, TaskID] = {}
        ended: list[str] = []

        def on_step(network: Network, step: str) -> None:
            if network.name not in tasks:
                tasks[network.name] = progress.add_task(network.name, total=len(STEPS), step=step)
            task = tasks[network.name]
            progress.update(task, step=step)
            if step in STEPS:
                progress.update(task, completed=STEPS.index(step))
                return
            progress.update(task, completed=None if step == "failed" else len(STEPS), visible=count <= MANY)
            progress.stop_task(task)
            ended.append(network.name)
            progress.update(total, completed=len(ended), step=f"{len(ended)} of {count}")

        yield on_step
