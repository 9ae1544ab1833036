"""Pickles from anywhere, looked through before anything reads them.

A pickle is a program for a stack machine that may import and call. `walk` goes through the program and makes nothing of
it. It knows the few opcodes, names and calls that files of tensors are written with, and refuses the rest.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from generator.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

PROTOCOLS = (2, 3, 4, 5)
MOST_OPCODES = 500_000  # the largest network takes 49 000; a file of a gigabyte of opcodes would take an hour
DEEPEST = 16  # an optimizer's tensors are 7 deep; Python crashes on hashing a tuple that is 100 000 deep
LONGEST_ATOM = 500  # characters of a name or key that are kept
ORDERED_DICT = "collections.OrderedDict"


class Refused(Exception):
    """What a file says is not what a file of weights says; whoever knows the file's path tells it."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@dataclass(frozen=True)
class Permit:
    """What a name in a pickle may be used for: called, its product given a state, its product referred to again."""

    called: bool = False
    built: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Rules:
    """The names that a kind of file may use, those that mean other tensors than ours, and what to do instead."""

    permits: Mapping[str, Permit]
    hint: str
    unsuited: Mapping[str, str] = field(default_factory=dict)
    persistent: bool = False  # whether it refers to data outside of the pickle


@dataclass
class Thing:
    """What a pickle would have on its stack: the kind, and as much of the value as the rules are about."""

    kind: Literal["atom", "name", "made", "tuple", "list", "dict", "kept"]
    value: object = None  # of an atom
    name: str = ""  # of a name, or of what made it
    items: list[Thing] = field(default_factory=list)  # of a tuple or list
    depth: int = 0  # of the things in it

    def holding(self, things: list[Thing]) -> Thing:
        """The same, with things in it."""
        self.depth = max([self.depth, *(1 + thing.depth for thing in things)])
        if self.depth > DEEPEST:
            raise Refused(f"its pickle has values in values more than {DEEPEST} deep")
        return self


@dataclass
class Walk:
    """Where `walk` is in a pickle, and what would be on the stack and in the memo there."""

    rules: Rules
    opcodes: int = 0
    frame_end: int = 0
    stack: list[Thing] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Thing] = field(default_factory=dict)
    kept: list[Thing] = field(default_factory=list)

    def step(self, opcode: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        """Take one opcode in."""
        self.opcodes += 1
        if self.opcodes > MOST_OPCODES:
            raise Refused(f"its pickle has more than {MOST_OPCODES} opcodes")
        if opcode.name not in EFFECTS:
            raise Refused(f"its pickle has the opcode {opcode.name}, which tensors do not need", self.rules.hint)
        self.check_frame(opcode.name, argument, position)
        made = EFFECTS[opcode.name](self, argument, self.taken(opcode))
        if made is not None:
            self.stack.append(made)

    def check_frame(self, name: str, argument: object, position: int) -> None:
        """Refuse what straddles the end of a frame: readers of pickles do not agree on what that says."""
        if position > self.frame_end > 0 or (position < self.frame_end and name == "FRAME"):
            raise Refused("its pickle does not keep to its frames")
        if position == self.frame_end:
            self.frame_end = 0
        if name == "FRAME" and isinstance(argument, int):
            self.frame_end = position + 1 + 8 + argument

    def taken(self, opcode: pickletools.OpcodeInfo) -> list[Thing]:
        """Remove what the opcode takes: so many things, or all above the last mark and so many below it."""
        before = opcode.stack_before
        try:
            if pickletools.markobject in before:
                start = self.marks.pop() - before.index(pickletools.markobject)
            else:
                start = len(self.stack) - len(before)
        except IndexError:
            start = -1
        if start < (self.marks[-1] if self.marks else 0):
            raise Refused(f"its pickle has the opcode {opcode.name} with too little before it")
        things = self.stack[start:]
        del self.stack[start:]
        return things


def nothing(_: Walk, __: object, ___: list[Thing]) -> None:
    """FRAME, which `check_frame` looks at."""


def proto(_: Walk, argument: object, __: list[Thing]) -> None:
    """PROTO."""
    if argument not in PROTOCOLS:
        raise Refused(f"its pickle is of protocol {argument}")


def mark(walk: Walk, _: object, __: list[Thing]) -> None:
    """MARK."""
    walk.marks.append(len(walk.stack))


def stop(_: Walk, __: object, things: list[Thing]) -> Thing:
    """STOP: what the pickle makes."""
    return things[0]


def atom(_: Walk, argument: object, __: list[Thing]) -> Thing:
    """Numbers, texts, bytes and the three constants."""
    short = isinstance(argument, int) or (isinstance(argument, str) and len(argument) <= LONGEST_ATOM)
    return Thing("atom", argument if short else None)


def tuple_of(_: Walk, __: object, things: list[Thing]) -> Thing:
    """TUPLE."""
    return Thing("tuple", items=things).holding(things)


def empty_list(_: Walk, __: object, ___: list[Thing]) -> Thing:
    """EMPTY_LIST."""
    return Thing("list")


def empty_dict(_: Walk, __: object, ___: list[Thing]) -> Thing:
    """EMPTY_DICT."""
    return Thing("dict")


def append(_: Walk, __: object, things: list[Thing]) -> Thing:
    """APPENDS."""
    target, *items = things
    if target.kind != "list":
        raise Refused("its pickle appends to what is no list")
    target.items.extend(items)
    return target.holding(items)


def set_items(_: Walk, __: object, things: list[Thing]) -> Thing:
    """SETITEMS."""
    target, *items = things
    if target.kind != "dict" and (target.kind, target.name) != ("made", ORDERED_DICT):
        raise Refused("its pickle sets an item of what is no dict")
    return target.holding(items)


def put(walk: Walk, argument: object, _: list[Thing]) -> None:
    """BINPUT: give the top of the stack a number."""
    # CPython's memo is an array: one number of 2**31 makes it 32 GB long.
    if not isinstance(argument, int) or argument > walk.opcodes or not walk.stack:
        raise Refused(f"its pickle numbers a value {argument} after {walk.opcodes} opcodes")
    walk.memo[argument] = walk.stack[-1]


def memoize(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """MEMOIZE: give the top of the stack the next number."""
    walk.memo[len(walk.memo)] = things[0]
    return things[0]


def get(walk: Walk, argument: object, _: list[Thing]) -> Thing:
    """BINGET: the value of a number."""
    thing = walk.memo.get(argument) if isinstance(argument, int) else None
    # A container of the last one twice, fifty times over, is a pickle of 1 kB and a text of petabytes.
    if thing is None or not (
        thing.kind in {"atom", "name"}
        or (thing.kind == "made" and walk.rules.permits[thing.name].shared)
        or (thing.kind == "tuple" and all(item.kind in {"atom", "name"} for item in thing.items))
    ):
        raise Refused(f"its pickle refers to its value {argument}, which is a container or none")
    return thing


def name(walk: Walk, argument: object, things: list[Thing]) -> Thing:
    """GLOBAL and STACK_GLOBAL."""
    parts = [thing.value for thing in things] or str(argument).split(" ", 1)
    full = ".".join(part if isinstance(part, str) else "?" for part in parts)
    if full in walk.rules.unsuited:
        raise Refused(f"it holds {walk.rules.unsuited[full]}", walk.rules.hint)
    if full not in walk.rules.permits:
        shown = quoted(full)
        # A name that can be shown as it is needs no quotes.
        shown = full if shown[1:-1] == full else shown
        raise Refused(f"it names {shown}, and nothing in a weights file is executed", walk.rules.hint)
    return Thing("name", name=full)


def reduce(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """REDUCE: a call."""
    function, arguments = things
    if function.kind != "name" or not walk.rules.permits[function.name].called or arguments.kind != "tuple":
        raise Refused(f"its pickle calls {function.name or f'a value ({function.kind})'}", walk.rules.hint)
    return Thing("made", name=function.name).holding([arguments])


def build(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """BUILD: a state for what was made."""
    target, state = things
    if target.kind != "made" or not walk.rules.permits[target.name].built:
        raise Refused(f"its pickle gives a state to {target.name or f'a value ({target.kind})'}", walk.rules.hint)
    return target.holding([state])


def persistent(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """BINPERSID: data outside of the pickle."""
    if not walk.rules.persistent:
        raise Refused("its pickle refers to data outside of it", walk.rules.hint)
    walk.kept += things
    return Thing("kept")


# The opcodes that are let through, and what they do to a walk. Not among them: INST, OBJ, NEWOBJ, EXT, sets,
# buffers outside of the file, and the text opcodes of protocol 0.
EFFECTS: dict[str, Callable[[Walk, object, list[Thing]], Thing | None]] = {
    "PROTO": proto,
    "FRAME": nothing,
    "STOP": stop,
    "MARK": mark,
    **dict.fromkeys(("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), atom),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING"), atom),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), atom),
    **dict.fromkeys(("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), tuple_of),
    "EMPTY_LIST": empty_list,
    "EMPTY_DICT": empty_dict,
    **dict.fromkeys(("APPEND", "APPENDS"), append),
    **dict.fromkeys(("SETITEM", "SETITEMS"), set_items),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), put),
    "MEMOIZE": memoize,
    **dict.fromkeys(("BINGET", "LONG_BINGET"), get),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), name),
    "REDUCE": reduce,
    "BUILD": build,
    "BINPERSID": persistent,
}


def walk(stream: BinaryIO, rules: Rules) -> tuple[Thing, list[Thing]]:
    """Go through the pickle that begins here: what it would make, and what of it is kept outside of it.

    Raises:
        Refused: it says more than a file of tensors says, or ends in the middle.
    """
    state = Walk(rules)
    try:
        for opcode, argument, position in pickletools.genops(stream):
            state.step(opcode, argument, position or 0)
    except ValueError as error:
        raise Refused("its pickle is damaged or cut short") from error
    return state.stack[-1], state.kept
