"""Names matched by patterns, and tables in Markdown."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table; the text of a cell cannot end the cell."""
    cells = ([cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows)
    lines = [heads, ["---"] * len(heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a glob pattern matches in any letter case; `all` is every name."""
    wanted = "*" if pattern.lower() == "all" else pattern.lower()
    return [name for name in names if fnmatchcase(name.lower(), wanted)]
