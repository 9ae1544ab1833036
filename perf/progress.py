"""Progress of a run on stderr: a bar with the time left on a terminal, a line per point elsewhere."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perf.runs import points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perf.runs.store import Stored
    from perf.runs.types import PerfPoint

logger = logging.getLogger(__name__)


def rounds_left(stored: Stored) -> tuple[int, int, float | None]:
    """Rounds done, rounds that are sure to come, and about how many seconds those take, by what was measured so far.

    A point that no round was measured of yet is taken for as long as the mean of the others.
    """
    plan = stored.run.plan
    done, left, seconds, unknown = 0, 0, 0.0, 0
    for found in stored.results:
        done += len(found.repeats)
        if points.finished(found, plan):
            continue
        more = max(1, plan.least_rounds - len(found.repeats))
        left += more
        if found.repeats:
            seconds += more * found.repeats[-1].seconds
        else:
            unknown += more
    if not done:
        return done, left, None
    mean = sum(repeat.seconds for repeat in stored.repeats) / done
    return done, left, seconds + unknown * mean


def time_left(seconds: float | None) -> str:
    """`about 4 min left`."""
    if seconds is None:
        return ""
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"  # noqa: PLR2004


@contextmanager
def shown() -> Iterator[Callable[[Stored, PerfPoint], None]]:
    """Something to tell of each point."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from generator.commands import console

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console.err(), transient=True) if console.shows_progress() else None
    task = bar.add_task("", total=None) if bar else None

    def on_point(stored: Stored, point: PerfPoint) -> None:
        done, left, seconds = rounds_left(stored)
        told = ", ".join(filter(None, (str(point), time_left(seconds))))
        if bar is None or task is None:
            logger.info("[%d/%d] %s", done + 1, done + left, told)
            return
        bar.start()  # not before: messages about the server come first
        bar.update(task, completed=done, total=done + left, description=told)

    try:
        yield on_point
    finally:
        if bar:
            bar.stop()
