"""Progress of a run on stderr: a bar on a terminal, a line per round of a point elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perf.measure.sweep import Step

logger = logging.getLogger(__name__)


def describe(step: Step) -> str:
    """Describe a step, such as `dpn92 fp32 batch 8, round 2, about 4 min left`."""
    words = f"{step.point}, round {step.round}"
    if step.seconds_left is None:
        return words
    seconds = step.seconds_left
    left = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"  # noqa: PLR2004
    later = f" on this server, {step.later_servers} more to come" if step.later_servers else ""
    return f"{words}, about {left} left{later}"


@contextmanager
def shown() -> Iterator[Callable[[Step], None]]:
    """Show progress; yield the function that is called with each step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from generator.commands import console

    if not console.shows_progress():
        yield lambda step: logger.info("[%d/%d] %s", step.place, step.points, describe(step))
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console.make_console(), transient=True)
    task = bar.add_task("")

    def on_step(step: Step) -> None:
        bar.start()  # not before: messages about the server come first
        bar.update(task, completed=step.place, total=step.points, description=describe(step))

    try:
        yield on_step
    finally:
        bar.stop()
