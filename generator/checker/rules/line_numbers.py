"""On which line of a config a field stands; the parser of the text format does not tell."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.checker.rules.outcomes import Place

TOKEN = re.compile(
    r"""(?P<skipped>\#[^\n]* | [\s,;]+) | (?P<text>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*') | [\w.+-]+ | .""",
    re.VERBOSE,
)
ENDS = {"{": "}", "<": ">"}


def tokens(text: str) -> Iterator[tuple[str, int, bool]]:
    """Each token, its line, and whether it is a string; comments and separators are passed over."""
    line = 1
    for match in TOKEN.finditer(text):
        if not match["skipped"]:
            yield match.group(), line, match["text"] is not None
        line += match.group().count("\n")


def lines_of(text: str) -> dict[Place, int]:
    """The line of each field, from 1, by names and the place among fields of one name: `("input", 1, "dims", 0)`.

    The text is one that has been parsed: nothing is checked here.
    """
    return Reader(text).lines


class Reader:
    """Walks the tokens once."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self.tokens = list(tokens(text))
        self.next = 0
        self.fields((), None)

    def fields(self, prefix: Place, end: str | None) -> None:
        """The fields of one message, to its closing brace."""
        counts: Counter[str] = Counter()
        while self.next < len(self.tokens):
            name, line, _ = self.take()
            if name == end:
                return
            self.skip(":")
            if self.skip("["):
                self.lines.setdefault((*prefix, name, counts[name]), line)
                while self.next < len(self.tokens) and not self.skip("]"):
                    self.value((*prefix, name, counts[name]))
                    counts[name] += 1
            else:
                self.lines[(*prefix, name, counts[name])] = line
                self.value((*prefix, name, counts[name]))
                counts[name] += 1

    def value(self, place: Place) -> None:
        """A message, a word, or strings in a row."""
        token, line, is_text = self.take()
        self.lines.setdefault(place, line)
        if token in ENDS:
            self.fields(place, ENDS[token])
        while is_text and self.next < len(self.tokens) and self.tokens[self.next][2]:
            self.next += 1

    def take(self) -> tuple[str, int, bool]:
        """The next token, its line, and whether it is a string; an empty one at the end."""
        if self.next == len(self.tokens):
            return "", 0, False
        self.next += 1
        return self.tokens[self.next - 1]

    def skip(self, token: str) -> bool:
        """Pass over a token where it is the next one."""
        there = self.next < len(self.tokens) and self.tokens[self.next][:1] == (token,)
        self.next += there
        return there


def line_at(lines: dict[Place, int], place: Place) -> int | None:
    """The line of a place, or of the nearest around it that stands in the text."""
    while place:
        for candidate in (place, (*place, 0)):
            if candidate in lines:
                return lines[candidate]
        place = place[:-1]
    return None
