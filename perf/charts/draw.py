"""A chart as SVG and PNG, by matplotlib; the same bytes for the same chart."""

from __future__ import annotations

import io
import textwrap
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, ScalarFormatter

from perf.charts.labels import at_ends, beside_marks
from perf.charts.styles import FAMILIES, GRID, INK, PARTS
from perf.charts.types import Bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as Ruler
    from matplotlib.text import Annotation

    from perf.charts.types import Axis, Chart, Points, Series

WIDTH_IN, POINTS_HEIGHT_IN, BAR_IN = 9.0, 5.4, 0.34
PNG_DPI = 150
ABOUT_COLUMNS = 145
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it is read aloud, found and selected
    "font.family": ["DejaVu Sans"],  # wider than what a browser takes in its place: labels stay apart
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "hatch.color": INK,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a model's name may have a dollar in it
    "xtick.color": INK,
    "ytick.color": INK,
}
EDGE: dict[str, Any] = {"edgecolor": INK, "linewidth": 0.3}
DIAGONAL: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": "--"}


def pictures(chart: Chart) -> dict[str, bytes]:
    """On white, with what stands under it: SVG and PNG, by the ending of their names."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": chart.name}), quiet():
        drawn = figure(chart)
        png = {"dpi": PNG_DPI, "metadata": {"Software": None, "Title": chart.title}}
        return {"svg": svg(drawn, chart), "png": saved(drawn, "png", **png)}


def bare_svg(chart: Chart) -> str:
    """For a page that has the background, the title and the text under it itself."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": chart.name}), quiet():
        return svg(figure(chart, framed=False), chart, transparent=True).decode()


@contextmanager
def quiet() -> Iterator[None]:
    """Without a line a letter that DejaVu Sans has not: an SVG shows it all the same, a PNG a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


def svg(drawn: Figure, chart: Chart, **how: bool) -> bytes:
    """Without a date, so that the same chart is the same bytes; with fonts for where DejaVu Sans is not."""
    content = saved(drawn, "svg", metadata={"Date": None, "Title": chart.title}, **how)
    return content.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def saved(drawn: Figure, kind: str, **how: Any) -> bytes:  # noqa: ANN401 (matplotlib's)
    """A file's bytes."""
    data = io.BytesIO()
    drawn.savefig(data, format=kind, **how)
    return data.getvalue()


def figure(chart: Chart, *, framed: bool = True) -> Figure:
    """The drawing, laid out: labels have their places. Without a frame it has neither a title nor words under it."""
    height_in = 1.6 + BAR_IN * len(chart.bars) if isinstance(chart, Bars) else POINTS_HEIGHT_IN
    drawn = Figure(figsize=(WIDTH_IN, height_in), dpi=72, layout="constrained")
    canvas = FigureCanvasAgg(drawn)
    if framed:
        drawn.suptitle(chart.title, fontsize=11, gid="title")
        drawn.supxlabel(textwrap.fill(chart.about, ABOUT_COLUMNS), x=0.01, ha="left", fontsize=7, gid="about")
    label = bars(drawn, chart) if isinstance(chart, Bars) else points(drawn, chart)
    drawn.legend(handles=legend(chart), loc="outside right upper")
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn.set_layout_engine("none")
    label()
    return drawn


def points(drawn: Figure, chart: Points) -> Callable[[], None]:
    """Draw series by series; returns what writes their names, once the axes have their place."""
    axes = drawn.add_subplot()
    draw_points(axes, chart)
    if chart.names_at_end:
        return lambda: at_ends(axes, chart.series)
    return lambda: beside_marks(axes, chart.series, [axes.get_xlim()] if chart.diagonal else [])


def bars(drawn: Figure, chart: Bars) -> Callable[[], None]:
    """Draw the bars, and beside them the same without the largest part; returns what makes room at their ends."""
    whole, rest = drawn.subplots(1, 2, sharey=True, width_ratios=(4, 3))
    numbers = range(len(chart.parts))
    ends = draw_bars(whole, chart, numbers, [bar.end for bar in chart.bars])
    whole.set(xlabel=chart.x.label, yticks=range(len(chart.bars)), yticklabels=[bar.label for bar in chart.bars])
    whole.invert_yaxis()
    others = [number for number in numbers if number != chart.largest]
    sums = [sum(bar.values[number] for number in others) for bar in chart.bars]
    ends_of_rest = draw_bars(rest, chart, others, [f"{value:.3g} ms" for value in sums])
    rest.set_xlabel(chart.rest.label)

    def label() -> None:
        make_room(whole, ends)
        make_room(rest, ends_of_rest)

    return label


def draw_points(axes: Axes, chart: Points) -> None:
    """Series by series, over a grid."""
    axes.set(xlabel=chart.x.label, ylabel=chart.y.label)
    axes.set(xscale="log" if chart.x.log else "linear", yscale="log" if chart.y.log else "linear")
    rule(axes.xaxis, chart.x)
    rule(axes.yaxis, chart.y)
    axes.grid(visible=True)
    for number, series in enumerate(chart.series):
        draw_series(axes, series, number)
    axes.margins(0.09)
    widen(axes)
    axes.set_xlim(left=max(axes.get_xlim()[0], 0))  # nothing here is less than nothing
    if chart.diagonal:
        ends = (min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1]))
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.plot(ends, ends, gid="diagonal", **DIAGONAL)


def widen(axes: Axes) -> None:
    """Make a logarithmic ruler twofold at least: one point, or points that are nearly the same, are no gulf."""
    for ruler in (axes.xaxis, axes.yaxis):
        low, high = ruler.get_view_interval()
        if ruler.get_scale() == "log" and high < 2 * low:
            middle = (low * high) ** 0.5
            (axes.set_xlim if ruler is axes.xaxis else axes.set_ylim)(middle / 2**0.5, middle * 2**0.5)


def draw_series(axes: Axes, series: Series, number: int) -> None:
    """A line, and a mark a point: hollow where it is not stable."""
    style = FAMILIES[series.family]
    xs, ys = [mark.x for mark in series.marks], [mark.y for mark in series.marks]
    dots = ":" if series.line == "dotted" else "-"
    axes.plot(xs, ys, color=style.colour, linestyle=dots, linewidth=1.2, gid=f"line-{number}")
    for stable, gid in ((True, "marks"), (False, "hollow")):
        marks = [mark for mark in series.marks if mark.stable == stable]
        axes.plot(
            [mark.x for mark in marks], [mark.y for mark in marks], linestyle="none", marker=style.marker,
            markersize=style.size, color=style.colour, markerfacecolor=style.colour if stable else "none",
            gid=f"{gid}-{number}",
        )  # fmt: skip


def draw_bars(axes: Axes, chart: Bars, parts: Sequence[int], words: Sequence[str]) -> list[Annotation]:
    """Some parts of each bar, each with its hatch, and words at its end, which are returned."""
    rows = range(len(chart.bars))
    before = [0.0] * len(chart.bars)
    for number in parts:
        colour, hatch = PARTS[number]
        values = [bar.values[number] for bar in chart.bars]
        drawn = axes.barh(rows, values, left=before, height=0.7, color=colour, hatch=hatch, **EDGE)
        for row, patch in enumerate(drawn):
            patch.set_gid(f"bar-{len(parts)}-{row}-{number}")
        before = [start + value for start, value in zip(before, values, strict=True)]
    axes.grid(visible=True, axis="x")
    axes.set_xlim(0, max(*before, 1e-3))
    return [
        axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
        for row, (text, end) in enumerate(zip(words, before, strict=True))
    ]


def make_room(axes: Axes, ends: Sequence[Annotation]) -> None:
    """Make the axis as much longer than the bars as the words at their ends need."""
    whole_px = axes.get_window_extent().width
    longest = max(max(end.xy[0], 1e-3) / (1 - (end.get_window_extent().width + 10) / whole_px) for end in ends)
    axes.set_xlim(0, longest)


def rule(ruler: Ruler, axis: Axis) -> None:
    """A ruler's ticks; figures are written out, not as powers."""
    if axis.log:
        ruler.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ruler.set_major_formatter(ScalarFormatter())
        ruler.set_minor_formatter(NullFormatter())
    if axis.ticks:
        ruler.set_ticks(list(axis.ticks))
        ruler.set_minor_locator(NullLocator())


def legend(chart: Chart) -> list[Artist]:
    """Families by marker, or parts by colour and hatch."""
    if isinstance(chart, Bars):
        return [
            Patch(facecolor=colour, hatch=hatch, label=part, **EDGE)
            for part, (colour, hatch) in zip(chart.parts, PARTS, strict=True)
        ]
    there = [key for key in FAMILIES if any(series.family == key for series in chart.series)]
    handles: list[Artist] = [entry(key, chart.series) for key in there]
    if any(not mark.stable for series in chart.series for mark in series.marks):
        hollow: dict[str, Any] = {"linestyle": "none", "marker": "o", "markerfacecolor": "none"}
        handles.append(Line2D([], [], color=INK, label="unstable", **hollow))
    if chart.diagonal:
        handles.append(Line2D([], [], label="equal", **DIAGONAL))
    return handles


def entry(family: str, series: Sequence[Series]) -> Line2D:
    """A family's line and marker."""
    style = next(style for key, style in FAMILIES.items() if key == family)
    dots = any(one.family == family and one.line == "dotted" for one in series)
    look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": style.size}
    return Line2D([], [], linestyle=":" if dots else "-", label=style.label, **look)
