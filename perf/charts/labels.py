"""Placement of labels: no label covers another label or a mark."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import textalloc
from matplotlib.text import Text

from perf.charts.styles import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from perf.charts.types import Series

SIZE_PT = 8.5
LEADER_PX = 28


def label_marks(axes: Axes, series: Sequence[Series], diagonals: Sequence[tuple[float, float]] = ()) -> None:
    """Write each label in free space near its mark, joined to it by a line if it is far.

    Labels also avoid the diagonals, given as the coordinates of their ends, the same in x and y.
    """
    marks = [mark for one in series for mark in one.marks]
    named = [mark for mark in marks if mark.label]
    ends = [list(diagonal) for diagonal in diagonals]
    xs: list[Any] = [[mark.x for mark in one.marks] for one in series] + ends
    ys: list[Any] = [[mark.y for mark in one.marks] for one in series] + ends
    textalloc.allocate(
        axes, [mark.x for mark in named], [mark.y for mark in named], [mark.label for mark in named],
        x_scatter=[mark.x for mark in marks], y_scatter=[mark.y for mark in marks], x_lines=xs, y_lines=ys,
        textsize=SIZE_PT, textcolor=INK, linecolor=INK, linewidth=0.5, margin=0.012, min_distance=0.015,
        max_distance=0.25, nbr_candidates=400, avoid_label_lines_overlap=True, parse_math=False,
    )  # fmt: skip


def label_ends(axes: Axes, series: Sequence[Series]) -> None:
    """Write each label to the right of the last mark, in one column, and lengthen the logarithmic x axis to fit."""
    named = sorted((mark for one in series for mark in one.marks if mark.label), key=lambda mark: mark.y)
    last = max(mark.x for mark in named)
    arrow = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 4}
    labels = [
        axes.annotate(mark.label, (mark.x, mark.y), (last, mark.y), va="center", fontsize=SIZE_PT, arrowprops=arrow)
        for mark in named
    ]
    frame, half_px = axes.get_window_extent(), SIZE_PT / 2
    longest_px = max(Text.get_window_extent(label).width for label in labels)  # Annotation's includes its arrow
    share = (LEADER_PX + longest_px + 6) / frame.width
    left = axes.get_xlim()[0]
    axes.set_xlim(right=(last / left**share) ** (1 / (1 - share)))
    ends_px = [axes.transData.transform((last, mark.y)) for mark in named]
    heights_px = spread([y for _, y in ends_px], SIZE_PT * 1.35, frame.y0 + half_px, frame.y1 - half_px)
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
