"""What a chart shows, before anything is drawn: frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["dpn", "densenet", "other"]
Line = Literal["dotted", "solid"]


@dataclass(frozen=True)
class Axis:
    """What is along it, with its unit. Without `ticks` they stand wherever they are round."""

    label: str
    log: bool = False
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A point; one without a label is named by another of its series. Where it is not `stable` it is drawn hollow."""

    x: float
    y: float
    label: str = ""
    stable: bool = True

    def within(self, series: Series) -> str:
        """`DPN92 (12.99, 0.799)`; without a name where it is the series' own."""
        label = "" if self.label == series.name else self.label
        return f"{label} ({self.x:.4g}, {self.y:.4g})".strip() + ("" if self.stable else " unstable")


@dataclass(frozen=True)
class Series:
    """Points that one line joins, in the order of x."""

    name: str
    family: Family
    line: Line
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Points:
    """Points and lines. `about` stands under them; `diagonal` is the line where x equals y.

    Names stand where there is room, or one under the other at the end of lines.
    """

    name: str
    title: str
    about: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    diagonal: bool = False
    names_at_end: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar of parts that add up, and what is written at its end."""

    label: str
    values: tuple[float, ...]
    end: str


@dataclass(frozen=True)
class Bars:
    """Stacked bars, one under the other; `parts` names their values.

    Beside them stand the same without the part `largest`, along `rest`: where that is most of them the others are not
    to be seen.
    """

    name: str
    title: str
    about: str
    x: Axis
    rest: Axis
    largest: int
    parts: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class NotDrawn:
    """A chart that there are no figures for."""

    name: str
    why: str


Chart = Points | Bars


def description(chart: Chart) -> str:
    """The figures in words, for who does not see it."""
    if isinstance(chart, Bars):
        return f"{chart.x.label}. {'; '.join(f'{bar.label}: {bar.end}' for bar in chart.bars)}."
    rows = (f"{series.name}: {', '.join(mark.within(series) for mark in series.marks)}" for series in chart.series)
    return f"Across: {chart.x.label}. Up: {chart.y.label}. {'; '.join(rows)}."
