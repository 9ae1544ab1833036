"""The options that decide a model's configs: what each may be, and which of several sayings is in force.

Defaults < the whole of a --config file < its part on a network < the command line.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from generator.config.targets import GPUS
from generator.config.tensorrt_parameters import BY_KEY, as_written
from generator.config.types import ServingOptions
from generator.errors import BadValue, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LARGEST_BATCH_SIZE = 1024
LARGEST_QUEUE_DELAY_US = 10_000_000
LARGEST_WORKSPACE_MIB = max(gb for gpu in GPUS for gb in gpu.memory_gb) * 1024
PREFERRED = ServingOptions.preferred_batch_sizes


@dataclass(frozen=True)
class Setting:
    """A value that was said, already held to its option's row, and where it was said."""

    value: Any
    where: str


Settings = dict[str, Setting]


def whole(lowest: int, highest: int) -> Callable[[object], int]:
    """A reader of whole numbers in a range."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("it must be a whole number")  # noqa: TRY004 (a reader has one error)
        if not lowest <= value <= highest:
            raise ValueError(f"it must be from {lowest} to {highest}")
        return value

    return read


def switch(value: object) -> bool:
    """Read a truth value."""
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")  # noqa: TRY004 (a reader has one error)
    return value


def sizes(value: object) -> tuple[int, ...]:
    """Read batch sizes, ascending."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("it must be a list of batch sizes, such as 4,8")
    read = whole(1, LARGEST_BATCH_SIZE)
    return tuple(sorted({read(size) for size in value}))


def triple(value: object) -> tuple[int, int, int]:
    """Read the smallest, the best and the largest batch."""
    if not isinstance(value, list | tuple) or len(value) != 3:  # noqa: PLR2004 (min, opt, max)
        raise ValueError("it must be three batch sizes: smallest, best, largest")
    smallest, best, largest = map(whole(1, LARGEST_BATCH_SIZE), value)
    if not smallest <= best <= largest:
        raise ValueError("it must be three batch sizes that do not fall: smallest, best, largest")
    if smallest != 1:
        raise ValueError("it must begin at 1: a single request may come alone, and outside the profile it fails")
    return smallest, best, largest


def parameters(value: object) -> tuple[tuple[str, str], ...]:
    """Read further parameters of the accelerator, by key."""
    if not isinstance(value, dict):
        raise ValueError("it must be a table of keys and values")  # noqa: TRY004 (a reader has one error)
    return tuple((key, parameter(key, entry)) for key, entry in sorted(value.items()))


def parameter(key: str, value: object) -> str:
    """Read one parameter of the accelerator."""
    row = BY_KEY.get(key)
    if row is None:
        near = difflib.get_close_matches(key, BY_KEY, n=1, cutoff=0.6)
        raise ValueError(
            f"the accelerator has no parameter {key!r}" + (f"; did you mean {near[0]}?" if near else ""),
        )
    if row.option:
        raise ValueError(f"{key} is set by `{row.option}`")
    try:
        return as_written(row, value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


@dataclass(frozen=True)
class Option:
    """One option: its name in files and in Python, what reads its value, and its word in --help."""

    key: str
    read: Callable[[object], Any]
    metavar: str
    help: str

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.key.replace("_", "-")


OPTIONS: tuple[Option, ...] = (
    Option("max_batch_size", whole(1, LARGEST_BATCH_SIZE), "N", "Largest batch the server forms, 1 to 1024."),
    Option("preferred_batch_sizes", sizes, "SIZES", "Batches that do not wait for more; at most the largest."),
    Option(
        "max_queue_delay_us",
        whole(0, LARGEST_QUEUE_DELAY_US),
        "US",
        "How long a request may wait for others, to 10 s.",
    ),
    Option("instance_count", whole(1, 64), "N", "Instances of the model on the device, 1 to 64."),
    Option(
        "workspace_mib",
        whole(1, LARGEST_WORKSPACE_MIB),
        "MIB",
        "Memory TensorRT may use to build, to all of the GPU's.",
    ),
    Option(
        "profile", triple, "MIN,OPT,MAX", "Batches of TensorRT's one profile: 1, the one it is tuned for, the largest."
    ),
    Option(
        "builder_optimization_level", whole(0, 5), "0-5", "How long TensorRT searches; below 3 engines may be slow."
    ),
    Option("response_cache", switch, "", "Answer a request that was answered before from Triton's cache."),
    Option("warmup", switch, "", "Run batch 1 and the largest before the model is READY."),
    Option("accelerator", parameters, "KEY=VALUE", "A further parameter of the tensorrt accelerator; repeat it."),
)
BY_NAME = {option.key: option for option in OPTIONS}


def settings(values: Mapping[str, object], where: Callable[[str], str]) -> Settings:
    """Hold each value to its row; `where` says of a key where its value was said.

    Raises:
        UnknownName: there is no such option.
        BadValue: it cannot be used.
    """
    read: Settings = {}
    for key, value in values.items():
        if key not in BY_NAME:
            raise UnknownName("option", key, BY_NAME)
        try:
            read[key] = Setting(BY_NAME[key].read(value), where(key))
        except ValueError as error:
            raise BadValue(where(key), shown(value), str(error)) from error
    return read


def from_call(values: Mapping[str, object]) -> Settings:
    """What the command line, or a call in Python, says."""
    return settings(values, lambda key: key)


def in_force(said: Iterable[Settings], gpus: Iterable[str]) -> ServingOptions:
    """The options of one network, the later sayings before the earlier ones.

    What nobody said follows from the rest: the preferred sizes that fit, and a profile that is tuned for the largest
    batch.

    Raises:
        BadValue: they do not go together.
    """
    chosen = merged(said)
    values: dict[str, Any] = {key: setting.value for key, setting in chosen.items()}
    largest = values.get("max_batch_size", ServingOptions.max_batch_size)
    values.setdefault("preferred_batch_sizes", tuple(size for size in PREFERRED if size <= largest) or (largest,))
    values.setdefault("profile", (1, largest, largest))
    options = ServingOptions(**values)

    def refuse(key: str, why: str, hint: str | None = None) -> BadValue:
        return BadValue(chosen[key].where, shown(chosen[key].value), why, hint)

    if options.preferred_batch_sizes[-1] > largest:
        raise refuse(
            "preferred_batch_sizes", f"the largest batch is {largest}", "raise max_batch_size, or leave it out"
        )
    if options.profile[-1] != largest:
        raise refuse(
            "profile",
            f"it must end at the largest batch, which is {largest}: beyond it requests fail, below it memory is wasted",
            f"{options.profile[0]},{min(options.profile[1], largest)},{largest} does",
        )
    if largest > 1 and dict(options.accelerator).get("trt_cuda_graph_enable") == "1":
        raise refuse("accelerator", "a CUDA graph has one fixed shape, and batches of 1 to the largest are served")
    for gpu in (row for row in GPUS if row.name in set(gpus)):
        if options.workspace_mib > max(gpu.memory_gb) * 1024:
            raise refuse("workspace_mib", f"a {gpu.title} has {max(gpu.memory_gb)} GB of memory")
    return options


def merged(said: Iterable[Settings]) -> Settings:
    """The last saying of each option; the accelerator's parameters are put together key by key."""
    chosen: Settings = {}
    for layer in said:
        for key, setting in layer.items():
            before = chosen.get(key)
            if key == "accelerator" and before:
                together = {**dict(before.value), **dict(setting.value)}
                chosen[key] = Setting(tuple(sorted(together.items())), setting.where)
            else:
                chosen[key] = setting
    return chosen


def record(options: ServingOptions) -> dict[str, Any]:
    """The options as a file says them."""
    return {**dataclasses.asdict(options), "accelerator": dict(options.accelerator)}


def shown(value: object) -> str:
    """A value as a user writes it."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return ",".join(f"{key}={shown(entry)}" for key, entry in value.items())
        case tuple() | list() if not value:
            return "[]"
        case tuple() | list():
            return ",".join("=".join(map(str, part)) if isinstance(part, tuple) else shown(part) for part in value)
        case str():
            return repr(value)
        case _:
            return str(value)
