"""Shapes of configs and models; -1 is a variable dimension."""

from collections.abc import Iterable, Sequence

VARIABLE = -1


def sizes(values: Iterable[int | str]) -> list[int]:
    """Return dims as numbers; JSON has 64-bit numbers as text."""
    return [int(value) for value in values]


def shape_text(shape: Iterable[int]) -> str:
    """Return `[-1,3,224,224]`, as Triton prints shapes."""
    return f"[{','.join(map(str, shape))}]"


def fits(shape: Sequence[int], pattern: Sequence[int]) -> bool:
    """Return True if a shape has the dimensions of a pattern, in which a variable dimension takes any size."""
    return len(shape) == len(pattern) and all(w in (VARIABLE, g) for g, w in zip(shape, pattern, strict=True))
