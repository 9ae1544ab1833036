"""The line of each field of a config; the parser of the text format does not report it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generator.checker.rules.outcomes import Place

TOKEN = re.compile(
    r"""(?P<skipped>\#[^\n]* | [\s,;]+) | (?P<text>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*') | [\w.+-]+ | .""",
    re.VERBOSE,
)
ENDS = {"{": "}", "<": ">"}


def tokens(text: str) -> Iterator[tuple[str, int, bool]]:
    """Yield each token, its line, and True for a string; comments and separators are skipped."""
    line = 1
    for match in TOKEN.finditer(text):
        if not match["skipped"]:
            yield match.group(), line, match["text"] is not None
        line += match.group().count("\n")


def lines_of(text: str) -> dict[Place, int]:
    """Return the line of each field, from 1, by place: `("input", 1, "dims", 0)`; the text must have been parsed."""
    return Reader(text).lines


class Reader:
    """One pass over the tokens of a config."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self.tokens = list(tokens(text))
        self.next = 0
        self.read_message((), None)

    def read_message(self, prefix: Place, end: str | None) -> None:
        """Read the fields of one message, up to its closing brace."""
        counts: Counter[str] = Counter()
        while self.next < len(self.tokens):
            name, line, _ = self.tokens[self.next]
            self.next += 1
            if name == end:
                return
            self.skip(":")
            in_list, place = self.skip("["), (*prefix, name, counts[name])
            self.lines[place] = self.lines.get(place, line) if in_list else line
            while self.next < len(self.tokens) and not (in_list and self.skip("]")):
                self.read_value((*prefix, name, counts[name]))
                counts[name] += 1
                if not in_list:
                    break

    def read_value(self, place: Place) -> None:
        """Read a message, a word, or adjacent strings."""
        token, line, is_text = self.tokens[self.next]
        self.next += 1
        self.lines.setdefault(place, line)
        if token in ENDS:
            self.read_message(place, ENDS[token])
        while is_text and self.next < len(self.tokens) and self.tokens[self.next][2]:
            self.next += 1

    def skip(self, token: str) -> bool:
        """Skip the next token if it is this one."""
        skipped = self.next < len(self.tokens) and self.tokens[self.next][0] == token
        self.next += skipped
        return skipped


def line_at(lines: dict[Place, int], place: Place) -> int | None:
    """Return the line of a place, or of the nearest enclosing place in the text."""
    while place:
        for candidate in (place, (*place, 0)):
            if candidate in lines:
                return lines[candidate]
        place = place[:-1]
    return None
