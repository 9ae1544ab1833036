"""A scan of pickles from unknown sources, before anything reads them.

A pickle is a program for a stack machine that can import and call. `walk` reads the program without running it. It
knows the few opcodes, names and calls that files of tensors need, and refuses all others.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from generator.errors import quoted

PROTOCOLS = (2, 3, 4, 5)
MOST_OPCODES = 500_000  # the largest network needs 49 000; a file of a gigabyte of opcodes would take an hour
DEEPEST = 16  # an optimizer's tensors are 7 deep; Python crashes when it hashes a tuple that is 100 000 deep
LONGEST_ATOM = 500  # characters of a name or key that are kept
ORDERED_DICT = "collections.OrderedDict"


class Refused(Exception):
    """A file is not a plain file of weights; the caller adds the path."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@dataclass(frozen=True)
class Permit:
    """The permitted uses of a name: call it, set the state of the result, reuse the result."""

    called: bool = False
    built: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Rules:
    """The names that a kind of file may use, names of tensors that we do not support, and a hint."""

    permits: Mapping[str, Permit]
    hint: str
    unsuited: Mapping[str, str] = field(default_factory=dict)
    persistent: bool = False  # the pickle may refer to data outside of it


@dataclass
class Thing:
    """A value on the pickle's stack: its kind, and the parts of the value that the rules need."""

    kind: Literal["atom", "name", "made", "tuple", "list", "dict", "kept"]
    value: object = None  # of an atom
    name: str = ""  # of a name, or of the function that made the value
    items: list[Thing] = field(default_factory=list)  # of a tuple or list
    depth: int = 0  # levels of values below this one

    def holding(self, things: list[Thing]) -> Thing:
        """Record that the value now contains these things."""
        self.depth = max([self.depth, *(1 + thing.depth for thing in things)])
        if self.depth > DEEPEST:
            raise Refused(f"its pickle nests values more than {DEEPEST} deep")
        return self


@dataclass
class Walk:
    """The state of the stack machine at one place in a pickle."""

    rules: Rules
    opcodes: int = 0
    frame_end: int = 0
    stack: list[Thing] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Thing] = field(default_factory=dict)
    kept: list[Thing] = field(default_factory=list)

    def step(self, opcode: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        """Follow one opcode."""
        self.opcodes += 1
        if self.opcodes > MOST_OPCODES:
            raise Refused(f"its pickle has more than {MOST_OPCODES} opcodes")
        if opcode.name not in EFFECTS:
            raise Refused(f"its pickle has the opcode {opcode.name}, which tensors do not need", self.rules.hint)
        self.check_frame(opcode.name, argument, position)
        made = EFFECTS[opcode.name](self, argument, self.operands(opcode))
        if made is not None:
            self.stack.append(made)

    def check_frame(self, name: str, argument: object, position: int) -> None:
        """Refuse an opcode that crosses the end of a frame, since readers of pickles disagree on its meaning."""
        if position > self.frame_end > 0 or (position < self.frame_end and name == "FRAME"):
            raise Refused("its pickle has inconsistent frames")
        if position == self.frame_end:
            self.frame_end = 0
        if name == "FRAME" and isinstance(argument, int):
            self.frame_end = position + 1 + 8 + argument

    def operands(self, opcode: pickletools.OpcodeInfo) -> list[Thing]:
        """Pop the opcode's operands: a fixed number, or everything above the last mark and a fixed number below it."""
        before = opcode.stack_before
        try:
            if pickletools.markobject in before:
                start = self.marks.pop() - before.index(pickletools.markobject)
            else:
                start = len(self.stack) - len(before)
        except IndexError:
            start = -1
        if start < (self.marks[-1] if self.marks else 0):
            raise Refused(f"its pickle has the opcode {opcode.name} with too few values before it")
        things = self.stack[start:]
        del self.stack[start:]
        return things


def check_protocol(_: Walk, argument: object, __: list[Thing]) -> None:
    """PROTO: check the version."""
    if argument not in PROTOCOLS:
        raise Refused(f"its pickle has protocol {argument}")


def keep_atom(_: Walk, argument: object, __: list[Thing]) -> Thing:
    """BININT, BINUNICODE and others: push a number, a text, bytes or a constant."""
    short = isinstance(argument, int) or (isinstance(argument, str) and len(argument) <= LONGEST_ATOM)
    return Thing("atom", argument if short else None)


def append(_: Walk, __: object, things: list[Thing]) -> Thing:
    """APPEND and APPENDS: add items to a list."""
    target, *items = things
    if target.kind != "list":
        raise Refused("its pickle appends to a value that is not a list")
    target.items.extend(items)
    return target.holding(items)


def set_items(_: Walk, __: object, things: list[Thing]) -> Thing:
    """SETITEM and SETITEMS: add items to a dict."""
    target, *items = things
    if target.kind != "dict" and (target.kind, target.name) != ("made", ORDERED_DICT):
        raise Refused("its pickle sets an item of a value that is not a dict")
    return target.holding(items)


def put(walk: Walk, argument: object, _: list[Thing]) -> None:
    """BINPUT: save the top of the stack in the memo."""
    # CPython's memo is an array: the single index 2**31 makes it 32 GB long.
    if not isinstance(argument, int) or argument > walk.opcodes or not walk.stack:
        raise Refused(f"its pickle saves a value at memo index {argument} after {walk.opcodes} opcodes")
    walk.memo[argument] = walk.stack[-1]


def memoize(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """MEMOIZE: save the top of the stack at the next memo index."""
    walk.memo[len(walk.memo)] = things[0]
    return things[0]


def get(walk: Walk, argument: object, _: list[Thing]) -> Thing:
    """BINGET: push a value from the memo."""
    thing = walk.memo.get(argument) if isinstance(argument, int) else None
    # Fifty lists, each with the one before twice, are a pickle of 1 kB and a text of petabytes.
    if thing is None or not (
        thing.kind in {"atom", "name"}
        or (thing.kind == "made" and walk.rules.permits[thing.name].shared)
        or (thing.kind == "tuple" and all(item.kind in {"atom", "name"} for item in thing.items))
    ):
        raise Refused(f"its pickle reuses the value at memo index {argument}, which is missing or a container")
    return thing


def look_up(walk: Walk, argument: object, things: list[Thing]) -> Thing:
    """GLOBAL and STACK_GLOBAL: push a name."""
    parts = [thing.value for thing in things] or str(argument).split(" ", 1)
    full = ".".join(part if isinstance(part, str) else "?" for part in parts)
    if full in walk.rules.unsuited:
        raise Refused(f"it holds {walk.rules.unsuited[full]}", walk.rules.hint)
    if full not in walk.rules.permits:
        shown = quoted(full)
        shown = full if shown[1:-1] == full else shown  # quotes only where needed
        raise Refused(f"it names {shown}, and nothing in a weights file is executed", walk.rules.hint)
    return Thing("name", name=full)


def call(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """REDUCE: call a name."""
    function, arguments = things
    if function.kind != "name" or not walk.rules.permits[function.name].called or arguments.kind != "tuple":
        raise Refused(f"its pickle calls {function.name or f'a value ({function.kind})'}", walk.rules.hint)
    return Thing("made", name=function.name).holding([arguments])


def set_state(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """BUILD: set the state of a value that a call has made."""
    target, state = things
    if target.kind != "made" or not walk.rules.permits[target.name].built:
        raise Refused(f"its pickle sets the state of {target.name or f'a value ({target.kind})'}", walk.rules.hint)
    return target.holding([state])


def refer_outside(walk: Walk, _: object, things: list[Thing]) -> Thing:
    """BINPERSID: push a reference to data outside of the pickle."""
    if not walk.rules.persistent:
        raise Refused("its pickle refers to data outside of it", walk.rules.hint)
    walk.kept += things
    return Thing("kept")


# The permitted opcodes and their effects. Not permitted: INST, OBJ, NEWOBJ, EXT, sets, buffers outside of the file, and
# the text opcodes of protocol 0.
EFFECTS: dict[str, Callable[[Walk, object, list[Thing]], Thing | None]] = {
    "PROTO": check_protocol,
    "FRAME": lambda *_: None,  # check_frame has seen it
    "STOP": lambda _, __, things: things[0],
    "MARK": lambda walk, _, __: walk.marks.append(len(walk.stack)),
    **dict.fromkeys(("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), keep_atom),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING"), keep_atom),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), keep_atom),
    **dict.fromkeys(
        ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        lambda _, __, things: Thing("tuple", items=things).holding(things),
    ),
    "EMPTY_LIST": lambda *_: Thing("list"),
    "EMPTY_DICT": lambda *_: Thing("dict"),
    **dict.fromkeys(("APPEND", "APPENDS"), append),
    **dict.fromkeys(("SETITEM", "SETITEMS"), set_items),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), put),
    "MEMOIZE": memoize,
    **dict.fromkeys(("BINGET", "LONG_BINGET"), get),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), look_up),
    "REDUCE": call,
    "BUILD": set_state,
    "BINPERSID": refer_outside,
}


def walk(stream: BinaryIO, rules: Rules) -> tuple[Thing, list[Thing]]:
    """Return the value that the next pickle would make, and its references outside; raise Refused if it does more."""
    state = Walk(rules)
    try:
        for opcode, argument, position in pickletools.genops(stream):
            state.step(opcode, argument, position or 0)
    except ValueError as error:
        raise Refused("its pickle is damaged or incomplete") from error
    return state.stack[-1], state.kept
