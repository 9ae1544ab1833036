"""Serving options: one typed model for calls and TOML files, and the values in force for a network.

A later layer overrides an earlier one: the defaults, the file, the file's tables for a network, the call.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from generator.config.targets import GPUS
from generator.config.tensorrt_parameters import BY_KEY, as_written
from generator.config.types import ServingOptions
from generator.errors import BadValue, UnknownName, first_line
from generator.system.text import matching

T = TypeVar("T")

WRONG_TYPES = {
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    **dict.fromkeys(("dict_type", "mapping_type"), "must be a table of keys and values"),
    **dict.fromkeys(("too_short", "sequence_type", "sequence_str"), "must be a list of batch sizes, such as 4,8"),
}
PREFERRED = ServingOptions.preferred_batch_sizes


def check_profile(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the three batch sizes of TensorRT's profile."""
    if len(sizes) != 3 or list(sizes) != sorted(sizes):  # noqa: PLR2004 (min, opt, max)
        raise ValueError("must be three ascending batch sizes: smallest, best, largest")
    if sizes[0] != 1:
        raise ValueError("must begin at 1: a request may come alone, and outside the profile it fails")
    return tuple(sizes)


def check_parameter(key: str, value: object) -> str:
    """Return one further parameter of the accelerator as config.pbtxt has it."""
    row = BY_KEY.get(key)
    if row is None:
        near = difflib.get_close_matches(key, BY_KEY, n=1, cutoff=0.6)
        raise ValueError(f"unknown parameter {key!r}" + (f"; did you mean {near[0]}?" if near else ""))
    if row.option:
        raise ValueError(f"{key} is set by `{row.option}`")
    try:
        return as_written(row, value)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from error


BatchSize = Annotated[int, Field(ge=1, le=1024)]


@with_config(ConfigDict(strict=True, extra="forbid"))
class Serving(TypedDict, total=False):
    """The options that decide how a model is served; every one may be left out."""

    max_batch_size: BatchSize
    preferred_batch_sizes: Annotated[
        Sequence[BatchSize], Field(min_length=1), AfterValidator(lambda sizes: tuple(sorted(set(sizes))))
    ]
    max_queue_delay_us: Annotated[int, Field(ge=0, le=10_000_000)]
    instance_count: Annotated[int, Field(ge=1, le=64)]
    workspace_mib: Annotated[int, Field(ge=1, le=max(gb for gpu in GPUS for gb in gpu.memory_gb) * 1024)]
    profile: Annotated[Sequence[BatchSize], AfterValidator(check_profile)]
    builder_optimization_level: Annotated[int, Field(ge=0, le=5)]
    response_cache: bool
    warmup: bool
    accelerator: Annotated[
        Mapping[str, object], AfterValidator(lambda given: {key: check_parameter(key, given[key]) for key in given})
    ]


class ServingFile(Serving, total=False):
    """A TOML file of serving options: for all networks, and in `[models.NAME]` for some; NAME may be a glob pattern."""

    models: dict[str, Serving]


SERVING, SERVING_FILE = TypeAdapter(Serving), TypeAdapter(ServingFile)
Layers = list[tuple[str, Serving]]


def read_file(path: Path, known: Sequence[str]) -> ServingFile:
    """Read a TOML file of serving options; `known` are the networks that it may name.

    Raises:
        BadValue: the file cannot be read, is not TOML, or has a value that cannot be used.
        UnknownName: an option or a network that does not exist.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise BadValue("config", path, (error.strerror or str(error)).lower()) from error
    except UnicodeDecodeError as error:
        raise BadValue("config", path, "not UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadValue("config", path, f"not TOML: {first_line(error)}") from error
    file = validated(SERVING_FILE, document, path)
    for pattern in file.get("models", {}):
        if not matching(pattern, known):
            raise UnknownName(f"network for [models.{pattern}] in {path}", pattern, known)
    return file


def file_layers(path: Path, file: ServingFile, network: str) -> Layers:
    """Return what a file says of a network, the general before the particular."""
    models = file.get("models", {})
    common: Any = {key: value for key, value in file.items() if key != "models"}
    tables = [(f"{path}: [models.{name}] ", models[name]) for name in models if matching(name, [network])]
    return [(f"{path}: ", common), *tables]


def validated(adapter: TypeAdapter[T], values: Any, path: Path | None = None) -> T:  # noqa: ANN401 (it is what is checked)
    """Return the values if they fit the model.

    Raises:
        UnknownName: an option that does not exist.
        BadValue: a value that cannot be used; the parameter names the file and its table.
    """
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
    *table, key = found["loc"][:3] if found["loc"][0] == "models" else found["loc"][:1]
    place = "".join(f"[{'.'.join(map(str, table))}] " if table else "")
    if found["type"] == "extra_forbidden":
        known = (*Serving.__annotations__, "models") if path and not table else Serving.__annotations__
        raise UnknownName(f"option in {f'{place}of ' if place else ''}{path}" if path else "option", str(key), known)
    for step in (*table, key):
        values = values[step]
    raise BadValue(f"{path}: {place}{key}" if path else str(key), shown(values), sentence(found))


def sentence(found: ErrorDetails) -> str:
    """Write what is wrong with a value, from pydantic's record of it."""
    for bound, words in (("ge", "at least"), ("le", "at most")):
        if bound in found.get("ctx", {}):
            return f"must be {words} {found['ctx'][bound]}"
    return WRONG_TYPES.get(found["type"]) or found["msg"].removeprefix("Value error, ")


def in_force(layers: Layers, gpus: Sequence[str]) -> ServingOptions:
    """Return the options of one network from its layers, later ones first; raise BadValue if they contradict.

    Options that no layer gives follow from the rest: the preferred sizes that fit, and a profile that is tuned for
    the largest batch.
    """
    places: dict[str, str] = {}
    values: dict[str, Any] = {"accelerator": {}}
    for place, layer in layers:
        places |= dict.fromkeys(layer, place)
        values |= {**layer, "accelerator": values["accelerator"] | layer.get("accelerator", {})}
    given = {key: values[key] for key in places}
    largest = values.get("max_batch_size", ServingOptions.max_batch_size)
    values.setdefault("preferred_batch_sizes", tuple(size for size in PREFERRED if size <= largest) or (largest,))
    values.setdefault("profile", (1, largest, largest))
    options = ServingOptions(**values | {"accelerator": tuple(sorted(values["accelerator"].items()))})

    def refuse(key: str, why: str, hint: str | None = None) -> BadValue:
        return BadValue(f"{places[key]}{key}", shown(given[key]), why, hint)

    if options.preferred_batch_sizes[-1] > largest:
        raise refuse("preferred_batch_sizes", f"the largest batch is {largest}", "raise `max_batch_size`")
    if options.profile[-1] != largest:
        why = f"must end at the largest batch, {largest}: above it requests fail, below it memory is wasted"
        hint = f"`profile={options.profile[0]},{min(options.profile[1], largest)},{largest}` fits"
        raise refuse("profile", why, hint)
    if largest > 1 and values["accelerator"].get("trt_cuda_graph_enable") == "1":
        raise refuse("accelerator", "a CUDA graph has one fixed shape, and batches of 1 to the largest are served")
    for gpu in (row for row in GPUS if row.name in gpus):
        if options.workspace_mib > max(gpu.memory_gb) * 1024:
            raise refuse("workspace_mib", f"a {gpu.title} has {max(gpu.memory_gb)} GB of memory")
    return options


def shown(value: object) -> str:
    """Write a value as a user does."""
    match value:
        case bool():
            return str(value).lower()
        case Mapping():
            return ",".join(f"{key}={shown(entry)}" for key, entry in value.items())
        case tuple() | list():
            return ",".join(map(shown, value)) or "[]"
        case str():
            return repr(value)
        case _:
            return str(value)
