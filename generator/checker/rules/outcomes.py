"""The outcomes of a rule: a refusal in the server's words, or a warning in ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A config as Triton hands it to backends: JSON with the field names of model_config.proto.
Config = Mapping[str, Any]
# A position in a config: field names, each with an index among the fields of that name; `("input", 0, "dims")`.
Place = tuple[str | int, ...]
# A condition, and the sentence, hint and place of its refusal or warning.
Row = tuple[object, str, str, Place]

# Triton's words for the kind of error; DIES if the server dies, which leaves last words without a kind.
INVALID, INTERNAL, DIES = "Invalid argument", "Internal", ""


class Refusal(Exception):
    """A server would not load this model; `str()` is its own sentence.

    `status` is Triton's word for the kind of error, which precedes the sentences of the load stage; `at` is the place
    in the config, or `line` if the line is known; `fix` is what to do.
    """

    def __init__(
        self, sentence: str, fix: str = "", at: Place = (), status: str = INVALID, line: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.fix = fix
        self.at = at
        self.status = status
        self.line = line


@dataclass(frozen=True)
class Caution:
    """A warning about a model that loads and then misbehaves; the sentence is ours."""

    sentence: str
    fix: str
    at: Place = ()


def refuse(*rows: Row, status: str = INVALID) -> None:
    """Raise the refusal of the first row whose condition holds.

    Sentences are made even if no condition holds: a rule must not repeat a long text in the rows of a loop.
    """
    for refused, sentence, fix, at in rows:
        if refused:
            raise Refusal(sentence, fix, at, status)


def cautions(*rows: Row) -> list[Caution]:
    """Return a warning for each row whose condition holds."""
    return [Caution(sentence, fix, at) for wrong, sentence, fix, at in rows if wrong]
