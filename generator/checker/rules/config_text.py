"""The text of a config: parsed by Triton's own schema, as the JSON that Triton hands to backends, with line numbers.

Source: core, `ReadTextProto` (src/filesystem/api.cc): an unknown field or value is fatal.
"""

import difflib
import re
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from generator.checker.rules.basics import Config, Place, Refusal
from generator.checker.rules.folder import ABORTS_ON_A_FOLDER

LARGEST_BYTES = 4 << 20  # a larger file is not a config
TOKEN = re.compile(
    r"""(?P<skipped>\#[^\n]* | [\s,;]+) | (?P<text>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*') | [\w.+-]+ | .""",
    re.VERBOSE,
)
ENDS = {"{": "}", "<": ">"}
Tokens = deque[tuple[str, int, bool]]
PYTHONS_NUMBER = re.compile(r"\+|\d[\d_]*_|-?0[bBoO]")
MESSAGES = model_config_pb2.DESCRIPTOR.message_types_by_name.values()
ENUMS = (
    model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"],
    *(enum for message in MESSAGES for enum in message.enum_types),
)
# The parser's messages about unknown names, each with the names that it knows.
UNKNOWN_NAMES = (
    (re.compile(r'has no field named "(?P<name>[^"]*)"'), sorted({n for m in MESSAGES for n in m.fields_by_name})),
    (
        re.compile(r'Enum type "[^"]*" has no value named "?(?P<name>\w*)'),
        sorted({n for e in ENUMS for n in e.values_by_name}),
    ),
)


def as_json(message: Any) -> Config:  # noqa: ANN401 (a protobuf message)
    """Return the JSON that Triton hands to backends: every plain field, with the names of the schema."""
    return dict(
        json_format.MessageToDict(message, including_default_value_fields=True, preserving_proto_field_name=True)
    )


def with_fields(config: Config, fields: Config) -> Config:
    """Return a config with added fields, in the same form."""
    return as_json(json_format.ParseDict({**config, **fields}, model_config_pb2.ModelConfig())) if fields else config


def read_config(path: Path) -> tuple[Config, dict[Place, int]]:
    """Return a config, empty if there is no file, and its fields' lines; raise Refusal if Triton does not read it."""
    if not path.exists():
        return as_json(model_config_pb2.ModelConfig()), {}
    sentence = f"failed to read text proto from {path}"
    try:
        if path.stat().st_size > LARGEST_BYTES:
            why = f"it has more than {LARGEST_BYTES >> 20} MiB and was not read"
            raise Refusal(f"{sentence} ({why})", "replace it with a config")
        if path.is_dir():
            raise Refusal(ABORTS_ON_A_FOLDER, f"{path.name} is a folder: the whole server aborts; make it a file")
        if not path.is_file():
            raise Refusal(f"{sentence} (it is no regular file)", "make it a file")
        text = path.read_bytes().decode("utf-8", "surrogateescape")  # Triton takes any byte in a comment
        if text.startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise Refusal(f"{sentence} (it is UTF-16)", "write it in UTF-8")
        check_characters(text, sentence)
        return as_json(text_format.Parse(text, model_config_pb2.ModelConfig())), lines_of(text)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Refusal(f"{sentence} ({why})", "make it a file that can be read") from error
    except text_format.ParseError as error:
        why = " ".join(str(error).split())
        raise Refusal(f"{sentence} ({why})", parse_hint(str(error)), line=error.GetLine()) from error
    except UnicodeError as error:
        raise Refusal(f"{sentence} (a string in it is not UTF-8)", "write it in UTF-8") from error
    except (RecursionError, ValueError) as error:
        raise Refusal(f"{sentence} (it is not a text of the schema)", "replace it with a config") from error


def check_characters(text: str, sentence: str) -> None:
    """Raise Refusal for what Python's parser accepts and protobuf's does not: NUL, and Python's number notation."""
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise Refusal(f"{sentence} (Invalid control characters encountered in text.)", "remove the NUL", line=line)
    for token, line, is_text in tokens(text):
        if not is_text and PYTHONS_NUMBER.match(token):
            raise Refusal(f"{sentence} ({line}: Expected integer, got: {token})", "write a plain number", line=line)


def parse_hint(reason: str) -> str:
    """Return the known name that is closest to a misspelt field or value."""
    for pattern, known in UNKNOWN_NAMES:
        if match := pattern.search(reason):
            near = [name for name in known if name.endswith(f"_{match['name']}")]
            near = near or difflib.get_close_matches(match["name"], known, n=1, cutoff=0.7)
            return f"did you mean {near[0]}?" if near else "the schema of Triton 24.10 has no such name"
    return "correct the text there"


def tokens(text: str) -> Iterator[tuple[str, int, bool]]:
    """Yield each token, its line, and True for a string; comments and separators are skipped."""
    line = 1
    for match in TOKEN.finditer(text):
        if not match["skipped"]:
            yield match.group(), line, match["text"] is not None
        line += match.group().count("\n")


def lines_of(text: str) -> dict[Place, int]:
    """Return the line of each field, from 1, by place: `("input", 1, "dims", 0)`; the text must have been parsed.

    Protobuf's parser does not report them.
    """
    lines: dict[Place, int] = {}
    read_message(deque(tokens(text)), lines, (), None)
    return lines


def read_message(left: Tokens, lines: dict[Place, int], prefix: Place, end: str | None) -> None:
    """Read the fields of one message, up to its closing brace."""
    counts: Counter[str] = Counter()
    while left:
        name, line, _ = left.popleft()
        if name == end:
            return
        skip(left, ":")
        in_list, place = skip(left, "["), (*prefix, name, counts[name])
        lines[place] = lines.get(place, line) if in_list else line
        while left and not (in_list and skip(left, "]")):
            read_value(left, lines, (*prefix, name, counts[name]))
            counts[name] += 1
            if not in_list:
                break


def read_value(left: Tokens, lines: dict[Place, int], place: Place) -> None:
    """Read a message, a word, or adjacent strings."""
    token, line, is_text = left.popleft()
    lines.setdefault(place, line)
    if token in ENDS:
        read_message(left, lines, place, ENDS[token])
    while is_text and left and left[0][2]:
        left.popleft()


def skip(left: Tokens, token: str) -> bool:
    """Skip the next token if it is this one."""
    skipped = bool(left) and left[0][0] == token
    if skipped:
        left.popleft()
    return skipped


def line_at(lines: dict[Place, int], place: Place) -> int | None:
    """Return the line of a place, or of the nearest enclosing place in the text."""
    while place:
        for candidate in (place, (*place, 0)):
            if candidate in lines:
                return lines[candidate]
        place = place[:-1]
    return None
