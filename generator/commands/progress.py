"""Progress of a build: a bar a model on a terminal, a line a model elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from generator import console
from generator.pipeline import OUTCOMES, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.pipeline import OnStep
    from generator.spec import Network


@contextmanager
def build_progress() -> Iterator[OnStep]:
    """What `build` calls at every step."""
    if console.err().is_terminal:
        with bars() as on_step:
            yield on_step
    else:
        yield line


def line(network: Network, step: str) -> None:
    """Say how a model ended."""
    if step in OUTCOMES:
        console.say(f"{network.name}: {step}")


@contextmanager
def bars() -> Iterator[OnStep]:
    """A bar for each model that has begun."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[step]:<9}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.err()) as progress:
        tasks: dict[str, TaskID] = {}

        def on_step(network: Network, step: str) -> None:
            if network.name not in tasks:
                tasks[network.name] = progress.add_task(network.name, total=len(STEPS), step=step)
            task = tasks[network.name]
            progress.update(task, step=step)
            if step in STEPS:
                progress.update(task, completed=STEPS.index(step))
            else:
                progress.update(task, completed=None if step == "failed" else len(STEPS))
                progress.stop_task(task)

        yield on_step
