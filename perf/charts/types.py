"""The content of a chart before it is drawn, and its colours: those of Okabe and Ito (2008), and never colour alone."""

from dataclasses import dataclass
from typing import Literal

from generator.networks.types import Family


@dataclass(frozen=True)
class Style:
    """The legend, marker (matplotlib's name and size in points) and colour of a family."""

    label: str
    marker: str
    size: float
    colour: str


# A report replaces these two by the colours of its page.
INK = "#222222"
GRID = "#cccccc"
# The markers are those of the published charts.
FAMILIES: dict[Family, Style] = {
    "densenet": Style("DenseNet", "o", 7, "#0072B2"),
    "dpn": Style("DPN", "*", 11, "#D55E00"),
    "other": Style("other networks", "D", 6.5, INK),
}
# Colour and hatch of each part of a request, in the order of perf.runs.types.PARTS.
PART_STYLES = (
    ("#E69F00", ""),
    ("#56B4E9", "///"),
    ("#009E73", ""),
    ("#F0E442", "\\\\\\\\"),
    ("#0072B2", ""),
    ("#D55E00", "xxx"),
    ("#CC79A7", ""),
)
MEAN = "Client's mean latency, ms"


@dataclass(frozen=True)
class Mark:
    """A point of a series; only some marks of a series may have a label, and an unstable one is drawn hollow."""

    x: float
    y: float
    label: str = ""
    stable: bool = True


@dataclass(frozen=True)
class Series:
    """Marks in the order of x, joined by a line."""

    name: str
    family: Family
    line: Literal["dotted", "solid"]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Points:
    """A chart of series; `about` stands below it, `diagonal` draws the line where x equals y.

    `x` and `y` are the labels of the axes, with the unit; `x_ticks` are at round numbers if none are given. Labels of
    marks stand in free space or, with `names_at_end`, in a column at the end of the lines.
    """

    name: str
    title: str
    about: str
    x: str
    y: str
    series: tuple[Series, ...]
    log: bool = False
    x_ticks: tuple[float, ...] = ()
    diagonal: bool = False
    names_at_end: bool = False


@dataclass(frozen=True)
class Bar:
    """A stacked bar of the parts of a request in ms, and the text at its end."""

    label: str
    values: tuple[float, ...]
    end: str


@dataclass(frozen=True)
class Bars:
    """A chart of stacked bars."""

    name: str
    title: str
    about: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class NotDrawn:
    """A chart that has no data, and why."""

    name: str
    why: str


Chart = Points | Bars


def description(chart: Chart) -> str:
    """Return the values of a chart as text, for screen readers."""
    if isinstance(chart, Bars):
        return f"{MEAN}. {'; '.join(f'{bar.label}: {bar.end}' for bar in chart.bars)}."
    rows = (f"{series.name}: {', '.join(words(mark, series) for mark in series.marks)}" for series in chart.series)
    return f"X axis: {chart.x}. Y axis: {chart.y}. {'; '.join(rows)}."


def words(mark: Mark, series: Series) -> str:
    """Return a mark such as `DPN92 (12.99, 0.799)`, without the label if it is the name of the series."""
    label = "" if mark.label == series.name else mark.label
    return f"{label} ({mark.x:.4g}, {mark.y:.4g})".strip() + ("" if mark.stable else " unstable")
