"""Names beside points, none over another or over a point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import textalloc
from matplotlib.text import Text

from perf.charts.styles import INK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from perf.charts.types import Series

SIZE_PT = 8.5
LEADER_PX = 28


def beside_marks(axes: Axes, series: Sequence[Series], diagonals: Sequence[tuple[float, float]] = ()) -> None:
    """Write the label of each mark that has one where there is room, with a line to its point where that is far.

    Diagonals go from the one end to the other, in x as in y.
    """
    named = [mark for one in series for mark in one.marks if mark.label]
    marks = [mark for one in series for mark in one.marks]
    xs: list[Any] = [[mark.x for mark in one.marks] for one in series]
    ys: list[Any] = [[mark.y for mark in one.marks] for one in series]
    ends = [list(diagonal) for diagonal in diagonals]
    textalloc.allocate(
        axes,
        [mark.x for mark in named],
        [mark.y for mark in named],
        [mark.label for mark in named],
        x_scatter=[mark.x for mark in marks],
        y_scatter=[mark.y for mark in marks],
        x_lines=xs + ends,
        y_lines=ys + ends,
        textsize=SIZE_PT,
        textcolor=INK,
        linecolor=INK,
        linewidth=0.5,
        margin=0.012,
        min_distance=0.015,
        max_distance=0.25,
        nbr_candidates=400,
        avoid_label_lines_overlap=True,
        parse_math=False,
    )


def at_ends(axes: Axes, series: Sequence[Series]) -> None:
    """Write each label right of the last mark, at the height of its own or as near as the others let it.

    The ruler along x is made as much longer as the longest label needs; it is logarithmic.
    """
    named = sorted((mark for one in series for mark in one.marks if mark.label), key=lambda mark: mark.y)
    last = max(mark.x for mark in named)
    labels = [
        axes.annotate(
            mark.label, (mark.x, mark.y), (last, mark.y), va="center", fontsize=SIZE_PT, color=INK,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 4},
        )
        for mark in named
    ]  # fmt: skip
    longest_px = max(Text.get_window_extent(label).width for label in labels)  # without its leader
    share = (LEADER_PX + longest_px + 6) / axes.get_window_extent().width
    left = axes.get_xlim()[0]
    axes.set_xlim(right=(last / left**share) ** (1 / (1 - share)))
    to_px, from_px = axes.transData, axes.transData.inverted()
    ends_px = [to_px.transform((last, mark.y)) for mark in named]
    frame, half_px = axes.get_window_extent(), SIZE_PT / 2
    bounds_px = (frame.y0 + half_px, frame.y1 - half_px)
    heights_px = apart([height for _, height in ends_px], SIZE_PT * 1.35, *bounds_px)
    for label, (right_px, _), height_px in zip(labels, ends_px, heights_px, strict=True):
        x, y = from_px.transform((right_px + LEADER_PX, height_px))
        label.set_position((x, y))


def apart(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Ascending places at least so far apart, as near to the wanted ones as their groups can be: pure.

    Those that are too near are a group about the mean of what its members want, between `low` and `high`.
    """
    groups: list[Group] = []
    for place in wanted:
        groups.append(Group((place,), least, low, high))
        while len(groups) > 1 and groups[-1].start < groups[-2].end:
            later, before = groups.pop(), groups.pop()
            shift = least * len(before.starts)
            groups.append(replace(before, starts=before.starts + tuple(one - shift for one in later.starts)))
    return [group.start + least * number for group in groups for number in range(len(group.starts))]


@dataclass(frozen=True)
class Group:
    """Places one after the other; `starts`: for each, where the first would have to be for it to be where it wants."""

    starts: tuple[float, ...]
    least: float
    low: float
    high: float

    @property
    def start(self) -> float:
        """Where the first of them is."""
        mean = sum(self.starts) / len(self.starts)
        return max(self.low, min(mean, self.high - self.least * (len(self.starts) - 1)))

    @property
    def end(self) -> float:
        """Where the first of the next may be."""
        return self.start + self.least * len(self.starts)
