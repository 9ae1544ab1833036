"""Names matched by patterns, lists of names in sentences, and tables in Markdown."""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from generator.errors import quoted


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table; the text of a cell cannot end the cell."""
    cells = ([cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows)
    lines = [heads, ["---"] * len(heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a glob pattern matches in any letter case; `all` is every name."""
    wanted = "*" if pattern.lower() == "all" else pattern.lower()
    return [name for name in names if fnmatchcase(name.lower(), wanted)]


def listed(names: Collection[object]) -> str:
    """Quote the first three names, and count the others."""
    more = len(names) - 3
    return ", ".join(quoted(str(name)) for name in [*names][:3]) + (f" and {more} more" if more > 0 else "")
