"""The text of a config: read, parsed by Triton's own schema, and as the JSON form that Triton hands to backends.

Source: core, `ReadTextProto` (src/filesystem/api.cc): an unknown field or value is fatal.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from generator.checker.rules.line_numbers import lines_of, tokens
from generator.checker.rules.outcomes import Refused
from generator.checker.rules.paths import ABORTS_ON_A_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from generator.checker.rules.outcomes import Place

LARGEST_BYTES = 4 << 20  # beyond it a file is no config
NO_FIELD = re.compile(r'has no field named "(?P<name>[^"]*)"')
PYTHONS_NUMBER = re.compile(r"\+|\d[\d_]*_|-?0[bBoO]")
NO_VALUE = re.compile(r'Enum type "[^"]*" has no value named "?(?P<name>\w*)')
FIELDS = sorted(
    {name for message in model_config_pb2.DESCRIPTOR.message_types_by_name.values() for name in message.fields_by_name}
)
VALUES = sorted(
    {*model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"].values_by_name}
    | {
        name
        for message in model_config_pb2.DESCRIPTOR.message_types_by_name.values()
        for enum in message.enum_types
        for name in enum.values_by_name
    }
)
Config = dict[str, Any]


@dataclass(frozen=True)
class ConfigText:
    """A config with the line of each of its fields; a model without one has an empty one."""

    config: Config
    lines: dict[Place, int] = field(default_factory=dict)


def as_json(message: Any) -> Config:  # noqa: ANN401 (a protobuf message)
    """The form that Triton hands to backends: every plain field is there, with the names of the schema."""
    made: Config = json_format.MessageToDict(
        message, including_default_value_fields=True, preserving_proto_field_name=True
    )
    return made


def filled(config: Config, fields: Config) -> Config:
    """A config with fields that were filled in, in the same form."""
    return as_json(json_format.ParseDict({**config, **fields}, model_config_pb2.ModelConfig())) if fields else config


def empty_config() -> Config:
    """The config of a model that has none."""
    return as_json(model_config_pb2.ModelConfig())


def read_config(path: Path) -> ConfigText:
    """Read a config.

    Raises:
        Refused: Triton does not read it; the parser's reason has line and column.
    """
    sentence = f"failed to read text proto from {path}"
    try:
        if path.stat().st_size > LARGEST_BYTES:
            why = f"it has more than {LARGEST_BYTES >> 20} MiB and was not read"
            raise Refused(f"{sentence} ({why})", "it is no config: write one")
        if path.is_dir():
            raise Refused(ABORTS_ON_A_FOLDER, f"{path.name} is a folder: the whole server aborts; make it a file")
        if not path.is_file():
            raise Refused(f"{sentence} (it is no regular file)", "make it a file")
        text = path.read_bytes().decode("utf-8", "surrogateescape")  # in a comment Triton takes any byte
        if text.startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise Refused(f"{sentence} (it is UTF-16)", "write it in UTF-8")
        check_characters(text, sentence)
        return ConfigText(as_json(text_format.Parse(text, model_config_pb2.ModelConfig())), lines_of(text))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Refused(f"{sentence} ({why})", "make it a file that can be read") from error
    except text_format.ParseError as error:
        why = " ".join(str(error).split())
        raise Refused(f"{sentence} ({why})", meant(str(error)), line=error.GetLine()) from error
    except UnicodeError as error:
        raise Refused(f"{sentence} (a string in it is not UTF-8)", "write it in UTF-8") from error
    except (RecursionError, ValueError) as error:
        raise Refused(f"{sentence} (it is not a text of the schema)", "it is no config: write one") from error


def check_characters(text: str, sentence: str) -> None:
    """What Python's parser lets pass and protobuf's does not: NUL, and numbers in Python's own notation.

    Raises:
        Refused: there is one.
    """
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise Refused(f"{sentence} (Invalid control characters encountered in text.)", "remove the NUL", line=line)
    for token, line, is_text in tokens(text):
        if not is_text and PYTHONS_NUMBER.match(token):
            raise Refused(f"{sentence} ({line}: Expected integer, got: {token})", "write a plain number", line=line)


def meant(reason: str) -> str:
    """What a misspelt field or value may have been meant for."""
    for pattern, known in ((NO_FIELD, FIELDS), (NO_VALUE, VALUES)):
        if found := pattern.search(reason):
            near = [name for name in known if name.endswith(f"_{found['name']}")]
            near = near or difflib.get_close_matches(found["name"], known, n=1, cutoff=0.7)
            return f"did you mean {near[0]}?" if near else "the schema of Triton 24.10 has no such name"
    return "mend the text there"
