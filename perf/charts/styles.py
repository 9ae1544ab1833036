"""Colours, markers and hatches: the palette of Okabe and Ito (2008), and never colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perf.charts.types import Family


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
# Colour and hatch of each part of a request, in the order of perf.runs.metrics.PARTS.
PARTS = (
    ("#E69F00", ""),
    ("#56B4E9", "///"),
    ("#009E73", ""),
    ("#F0E442", "\\\\\\\\"),
    ("#0072B2", ""),
    ("#D55E00", "xxx"),
    ("#CC79A7", ""),
)
