"""How a rule says no, or only warns."""

from __future__ import annotations

from dataclasses import dataclass

# Where in a config: field names, and the place among fields of the same name; `("input", 0, "dims")`.
Place = tuple[str | int, ...]
DIES = ""  # the status where the server dies: there are last words, and no kind of error


class Refused(Exception):
    """A server would not load this model; `str()` is its own sentence.

    `status` is Triton's word for the kind of error, which it puts before the sentences of the load stage; `at` is the
    place in the config, or `line` where that is known; `fix` is what to do.
    """

    def __init__(
        self, sentence: str, fix: str = "", at: Place = (), status: str = "Invalid argument", line: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.fix = fix
        self.at = at
        self.status = status
        self.line = line


@dataclass(frozen=True)
class Hurts:
    """It loads, and then it hurts: the sentence is ours."""

    sentence: str
    fix: str
    at: Place = ()
