"""Drawing of charts as SVG and PNG by matplotlib; equal charts give equal bytes."""

import io
import logging
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
import textalloc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, ScalarFormatter

from generator.system.files import write_whole
from perf.charts.types import FAMILIES, GRID, INK, MEAN, PART_STYLES, Bars, Chart, NotDrawn, Points, Series
from perf.runs.types import PARTS

logger = logging.getLogger(__name__)

WIDTH_IN, POINTS_HEIGHT_IN, BAR_IN = 9.0, 5.4, 0.34
PNG_DPI = 150
ABOUT_COLUMNS = 145
LABEL_PT, LEADER_PX = 8.5, 28
# A second panel of bars leaves out this part, which would hide the others.
LARGEST_PART = [part.name for part in PARTS].index("compute_infer")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, which can be searched, selected and read aloud
    "font.family": ["DejaVu Sans"],  # wider than the fonts that a browser may use instead, so labels stay apart
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
    "text.parse_math": False,  # model names may contain a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}
EDGE: dict[str, Any] = {"edgecolor": INK, "linewidth": 0.3}
DIAGONAL: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": "--"}


def write(folder: Path, charts: Iterable[Chart | NotDrawn]) -> None:
    """Write each chart as SVG and PNG, or raise OutputFailed; log the charts without data and the older charts."""
    older = {path.stem for path in folder.glob("*.svg")}
    drawn = set()
    for chart in charts:
        if isinstance(chart, NotDrawn):
            logger.info("not drawn: %s: %s", chart.name, chart.why)
            continue
        drawn.add(chart.name)
        for extension, content in pictures(chart).items():
            write_whole(folder / f"{chart.name}.{extension}", content)
    logger.info("%d charts in %s, each as SVG and PNG", len(drawn), folder)
    if older := older - drawn:
        logger.info("older charts were kept: %s", ", ".join(sorted(older)))


def pictures(chart: Chart) -> dict[str, bytes]:
    """Return the chart with its title and text on white, by file extension: svg and png."""
    with style(chart):
        drawn = figure(chart)
        return {"svg": saved(drawn, chart, "svg"), "png": saved(drawn, chart, "png")}


def bare_svg(chart: Chart) -> str:
    """Return the chart as transparent SVG without its title and text, which a page writes itself."""
    with style(chart):
        return saved(figure(chart, framed=False), chart, "svg", transparent=True).decode()


@contextmanager
def style(chart: Chart) -> Iterator[None]:
    """Apply the style, and ignore characters that DejaVu Sans lacks: a PNG shows a box, a browser finds a font."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": chart.name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


def saved(drawn: Figure, chart: Chart, kind: str, *, transparent: bool = False) -> bytes:
    """Return the figure as a file, without a date or a version, which would differ, and with fonts for DejaVu Sans."""
    data, metadata = io.BytesIO(), {"Title": chart.title, "Date" if kind == "svg" else "Software": None}
    drawn.savefig(data, format=kind, dpi=PNG_DPI, metadata=metadata, transparent=transparent)
    content = data.getvalue()
    return content.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif") if kind == "svg" else content


def figure(chart: Chart, *, framed: bool = True) -> Figure:
    """Draw the chart, lay it out and then place its labels; `framed` adds the title and the text below."""
    height_in = 1.6 + BAR_IN * len(chart.bars) if isinstance(chart, Bars) else POINTS_HEIGHT_IN
    drawn = Figure(figsize=(WIDTH_IN, height_in), dpi=72, layout="constrained")
    canvas = FigureCanvasAgg(drawn)
    if framed:
        drawn.suptitle(chart.title, fontsize=11, gid="title")
        drawn.supxlabel(textwrap.fill(chart.about, ABOUT_COLUMNS), x=0.01, ha="left", fontsize=7, gid="about")
    place_labels = draw_bars(drawn, chart) if isinstance(chart, Bars) else draw_points(drawn.add_subplot(), chart)
    drawn.legend(handles=legend(chart), loc="outside right upper")
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn.set_layout_engine("none")
    place_labels()
    return drawn


def draw_points(axes: Axes, chart: Points) -> Callable[[], None]:
    """Draw lines and marks over a grid; return the function that places the labels."""
    scale = "log" if chart.log else "linear"
    axes.set(xlabel=chart.x, ylabel=chart.y, xscale=scale, yscale=scale)
    for ruler in (axes.xaxis, axes.yaxis) if chart.log else ():
        ruler.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ruler.set_major_formatter(ScalarFormatter())
        ruler.set_minor_formatter(NullFormatter())
    if chart.x_ticks:
        axes.set_xticks(chart.x_ticks)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True)
    for number, series in enumerate(chart.series):
        look = FAMILIES[series.family]
        xs, ys = [mark.x for mark in series.marks], [mark.y for mark in series.marks]
        axes.plot(xs, ys, color=look.colour, linestyle=series.line, linewidth=1.2, gid=f"line-{number}")
        for stable, gid, face in ((True, "marks", look.colour), (False, "hollow", "none")):
            marks = [mark for mark in series.marks if mark.stable == stable]
            axes.plot(
                [mark.x for mark in marks], [mark.y for mark in marks], linestyle="none", marker=look.marker,
                markersize=look.size, color=look.colour, markerfacecolor=face, gid=f"{gid}-{number}",
            )  # fmt: skip
    axes.margins(0.09)
    # A logarithmic axis spans at least a factor of two, so that small differences look small.
    for ruler, set_limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        low, high = ruler.get_view_interval()
        if ruler.get_scale() == "log" and high < 2 * low:
            middle = (low * high) ** 0.5
            set_limits(middle / 2**0.5, middle * 2**0.5)
    axes.set_xlim(left=max(axes.get_xlim()[0], 0))  # no value is negative
    if chart.names_at_end:
        return lambda: label_ends(axes, chart.series)
    if not chart.diagonal:
        return lambda: label_marks(axes, chart.series, ())
    ends = (min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1]))
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.plot(ends, ends, gid="diagonal", **DIAGONAL)
    return lambda: label_marks(axes, chart.series, (ends,))


def label_marks(axes: Axes, series: Sequence[Series], diagonals: Iterable[tuple[float, float]]) -> None:
    """Write each label in free space near its mark, joined to it by a line if it is far.

    Labels also avoid the diagonals, given as the coordinates of their ends, the same in x and y.
    """
    marks = [mark for one in series for mark in one.marks]
    named = [mark for mark in marks if mark.label]
    textalloc.allocate(
        axes, [mark.x for mark in named], [mark.y for mark in named], [mark.label for mark in named],
        x_scatter=[mark.x for mark in marks], y_scatter=[mark.y for mark in marks],
        x_lines=[*([mark.x for mark in one.marks] for one in series), *map(list, diagonals)],
        y_lines=[*([mark.y for mark in one.marks] for one in series), *map(list, diagonals)],
        textsize=LABEL_PT, textcolor=INK, linecolor=INK, linewidth=0.5, margin=0.012, min_distance=0.015,
        max_distance=0.25, nbr_candidates=400, avoid_label_lines_overlap=True, parse_math=False,
    )  # fmt: skip


def label_ends(axes: Axes, series: Sequence[Series]) -> None:
    """Write each label to the right of the last mark, in one column, and lengthen the logarithmic x axis to fit."""
    named = sorted((mark for one in series for mark in one.marks if mark.label), key=lambda mark: mark.y)
    last = max(mark.x for mark in named)
    arrow = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 4}
    labels = [
        axes.annotate(mark.label, (mark.x, mark.y), (last, mark.y), va="center", fontsize=LABEL_PT, arrowprops=arrow)
        for mark in named
    ]
    frame, half_px = axes.get_window_extent(), LABEL_PT / 2
    longest_px = max(Text.get_window_extent(label).width for label in labels)  # Annotation's includes its arrow
    share = (LEADER_PX + longest_px + 6) / frame.width
    left = axes.get_xlim()[0]
    axes.set_xlim(right=(last / left**share) ** (1 / (1 - share)))
    ends_px = [axes.transData.transform((last, mark.y)) for mark in named]
    heights_px = spread([y for _, y in ends_px], LABEL_PT * 1.35, frame.y0 + half_px, frame.y1 - half_px)
    for label, (right_px, _), height_px in zip(labels, ends_px, heights_px, strict=True):
        x, y = axes.transData.inverted().transform((right_px + LEADER_PX, height_px))
        label.set_position((x, y))


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places as near to the wanted ones as possible, but at least `gap` apart and between `low` and `high`.

    The wanted places ascend. With `gap` subtracted per place, this is isotonic regression, here by its min-max formula.
    """
    count = len(wanted)
    shifted = [place - gap * number for number, place in enumerate(wanted)]
    fitted = [
        max(min(fmean(shifted[start : end + 1]) for end in range(number, count)) for start in range(number + 1))
        for number in range(count)
    ]
    return [max(low, min(place, high - gap * (count - 1))) + gap * number for number, place in enumerate(fitted)]


def draw_bars(drawn: Figure, chart: Bars) -> Callable[[], None]:
    """Draw the bars and, beside them, the bars without the largest part; return the function that makes room."""
    whole, rest = drawn.subplots(1, 2, sharey=True, width_ratios=(4, 3))
    numbers = range(len(PARTS))
    ends = stack_bars(whole, chart, numbers, [bar.end for bar in chart.bars])
    whole.set(xlabel=MEAN, yticks=range(len(chart.bars)), yticklabels=[bar.label for bar in chart.bars])
    whole.invert_yaxis()
    others = [number for number in numbers if number != LARGEST_PART]
    sums = [sum(bar.values[number] for number in others) for bar in chart.bars]
    rest_ends = stack_bars(rest, chart, others, [f"{value:.3g} ms" for value in sums])
    rest.set_xlabel("Without compute, ms")

    def make_room() -> None:
        for axes, texts in ((whole, ends), (rest, rest_ends)):
            width_px = axes.get_window_extent().width
            shares = [(text.get_window_extent().width + 10) / width_px for text in texts]
            ends_ms = [max(text.xy[0], 1e-3) for text in texts]
            axes.set_xlim(0, max(end / (1 - share) for end, share in zip(ends_ms, shares, strict=True)))

    return make_room


def stack_bars(axes: Axes, chart: Bars, parts: Sequence[int], texts: Sequence[str]) -> list[Annotation]:
    """Draw the given parts of each bar; return the texts written at the ends of the bars."""
    rows = range(len(chart.bars))
    ends = [0.0] * len(chart.bars)
    for number in parts:
        colour, hatch = PART_STYLES[number]
        values = [bar.values[number] for bar in chart.bars]
        patches = axes.barh(rows, values, left=ends, height=0.7, color=colour, hatch=hatch, **EDGE)
        for row, patch in enumerate(patches):
            patch.set_gid(f"bar-{len(parts)}-{row}-{number}")
        ends = [start + value for start, value in zip(ends, values, strict=True)]
    axes.grid(visible=True, axis="x")
    axes.set_xlim(0, max(*ends, 1e-3))
    return axes.bar_label(patches, texts, padding=4, fontsize=8)


def legend(chart: Chart) -> list[Artist]:
    """Return the legend: families by marker, or parts by colour and hatch."""
    if isinstance(chart, Bars):
        return [
            Patch(facecolor=colour, hatch=hatch, label=part.label, **EDGE)
            for part, (colour, hatch) in zip(PARTS, PART_STYLES, strict=True)
        ]
    lines = {series.family: series.line for series in chart.series}
    handles: list[Artist] = [
        Line2D([], [], linestyle=lines[key], label=look.label, color=look.colour, marker=look.marker,
               markersize=look.size)
        for key, look in FAMILIES.items() if key in lines
    ]  # fmt: skip
    if any(not mark.stable for series in chart.series for mark in series.marks):
        handles.append(
            Line2D([], [], color=INK, label="unstable", linestyle="none", marker="o", markerfacecolor="none")
        )
    if chart.diagonal:
        handles.append(Line2D([], [], label="equal", **DIAGONAL))
    return handles
