"""A config, the two outcomes of a rule (a refusal in the server's words, or a warning in ours), and shapes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# A config as Triton hands it to backends: JSON with the field names of model_config.proto.
Config = Mapping[str, Any]
# A position in a config: field names, each with an index among the fields of that name; `("input", 0, "dims")`.
Place = tuple[str | int, ...]
# A condition, and the sentence, hint, place and status of its refusal or warning.
Row = tuple[object, str, str, Place] | tuple[object, str, str, Place, str]

# Triton's words for the kind of error; DIES if the server dies, which leaves last words without a kind.
INVALID, INTERNAL, DIES = "Invalid argument", "Internal", ""
VARIABLE = -1  # a dimension of any size, in configs and models


class Refusal(Exception):
    """A server would not load this model; `str()` is its own sentence.

    `status` is Triton's word for the kind of error, which precedes the sentences of the load stage; `at` is the place
    in the config, or `line` if the line is known; `fix` is what to do.
    """

    def __init__(
        self, sentence: str, fix: str = "", at: Place = (), status: str = INVALID, line: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.fix, self.at, self.status, self.line = fix, at, status, line


class Caution(NamedTuple):
    """A warning about a model that loads and then misbehaves; the sentence is ours."""

    sentence: str
    fix: str
    at: Place = ()


def refuse(rows: Iterable[Row]) -> None:
    """Raise the refusal of the first row whose condition holds.

    Sentences are made even if no condition holds: a rule must not repeat a long text in the rows of a loop.
    """
    for row in rows:
        if row[0]:
            raise Refusal(*row[1:])


def cautions(rows: Iterable[Row]) -> list[Caution]:
    """Return a warning for each row whose condition holds."""
    return [Caution(*row[1:4]) for row in rows if row[0]]


def sizes(values: Iterable[int | str]) -> list[int]:
    """Return dims as numbers; JSON has 64-bit numbers as text."""
    return [int(value) for value in values]


def shape_text(shape: Iterable[int]) -> str:
    """Return `[-1,3,224,224]`, as Triton prints shapes."""
    return f"[{','.join(map(str, shape))}]"


def fits(shape: Sequence[int], pattern: Sequence[int]) -> bool:
    """Return True if a shape has the dimensions of a pattern, in which a variable dimension takes any size."""
    return len(shape) == len(pattern) and all(w in (VARIABLE, g) for g, w in zip(shape, pattern, strict=True))
