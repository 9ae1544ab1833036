"""How families and parts look: colours of Okabe and Ito (2008) for the colour-blind, and never colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perf.charts.types import Family


@dataclass(frozen=True)
class Style:
    """A family's marker (matplotlib's name and size in points) and colour."""

    label: str
    marker: str
    size: float
    colour: str


# Replaced where a page has colours of its own.
INK = "#222222"
GRID = "#cccccc"
# Stars and dots as the published charts have them.
FAMILIES: dict[Family, Style] = {
    "dpn": Style("DPN", "*", 11, "#D55E00"),
    "densenet": Style("DenseNet", "o", 7, "#0072B2"),
    "other": Style("other networks", "D", 6.5, INK),
}
# The parts of a request, in its order: the hatch tells them where the colour does not.
PARTS = (
    ("#E69F00", ""),
    ("#56B4E9", "///"),
    ("#009E73", ""),
    ("#F0E442", "\\\\\\\\"),
    ("#0072B2", ""),
    ("#D55E00", "xxx"),
    ("#CC79A7", ""),
)
