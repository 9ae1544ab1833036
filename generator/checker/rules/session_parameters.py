"""The config's settings for an ONNX Runtime session, as onnxruntime_backend reads them.

Source: onnxruntime_backend, constructor of `ModelState` and `LoadModel` (src/onnxruntime.cc); `ParseIntValue` and
`ParseBoolValue` (backend, src/backend_common.cc). Keys that the backend does not know are ignored, by it and here.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Hurts, Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    Config = Mapping[str, Any]

# graph { level }: -1 basic, 1 extended, 2 none; anything else, 0 among it, all.
GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}


# Of NVIDIA's image, which is built with it (server, build.py); the embedded server has none.
CPU_ACCELERATORS = ("openvino",)
READ = (
    "execution_mode", "intra_op_thread_count", "inter_op_thread_count", "enable_mem_arena", "enable_mem_pattern",
    "memory.enable_memory_arena_shrinkage", "session.use_device_allocator_for_initializers", "cudnn_conv_algo_search",
    "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream",
)  # fmt: skip


@dataclass(frozen=True)
class SessionSettings:
    """What the config says of the session; 0 threads means that it says nothing."""

    graph_level: str
    parallel: bool
    intra_op_threads: int
    inter_op_threads: int
    mem_arena: bool
    mem_pattern: bool


def session_settings(config: Config, accelerators: Collection[str] = CPU_ACCELERATORS) -> SessionSettings:
    """Read them, or raise Refused with the backend's sentence; `accelerators` are those of the CPU that it has.

    Source: onnxruntime_backend, src/onnxruntime.cc:217 and :247.
    """
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    execution_mode = integer(config, "execution_mode", 0)
    if execution_mode not in (0, 1):
        raise Refused(
            "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got "
            f"{execution_mode} .",
            "0 is sequential, 1 parallel",
            ("parameters",),
        )
    settings = SessionSettings(
        graph_level=GRAPH_LEVELS.get(level, "ORT_ENABLE_ALL"),
        parallel=execution_mode == 1,
        intra_op_threads=max(0, integer(config, "intra_op_thread_count", 0)),
        inter_op_threads=max(0, integer(config, "inter_op_thread_count", 0)),
        mem_arena=boolean(config, "enable_mem_arena"),
        mem_pattern=boolean(config, "enable_mem_pattern"),
    )
    check_cpu_accelerators(config, accelerators)
    return settings


def check_cpu_accelerators(config: Config, known: Collection[str]) -> None:
    """The CPU side knows `openvino` only, and only in a build that has it; the GPU side is not read on a CPU.

    Source: onnxruntime_backend, src/onnxruntime.cc:928.
    """
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        if accelerator.get("name", "") in known:
            continue
        raise Refused(
            f"unknown Execution Accelerator '{accelerator.get('name', '')}' is requested",
            "leave cpu_execution_accelerator out",
            ("optimization", 0, "execution_accelerators", 0, "cpu_execution_accelerator", 0),
        )


def text(config: Config, key: str) -> str | None:
    """A model parameter's string, or None where it is not set."""
    entry = config.get("parameters", {}).get(key)
    return None if entry is None else entry.get("string_value", "")


def integer(config: Config, key: str, default: int) -> int:
    """Read a number as C's stoi does: leading blanks and trailing text are let pass."""
    value = text(config, key)
    if value is None:
        return default
    number = re.match(r"\s*[+-]?\d+", value)
    if number is None or not -(2**31) <= int(number.group()) < 2**31:
        raise Refused(f"failed to convert '{value}' to integral number", f"{key}: a whole number", ("parameters",))
    return int(number.group())


def boolean(config: Config, key: str, *, default: bool = True) -> bool:
    """true, on, 1 or false, off, 0, in any letter case."""
    value = text(config, key)
    if value is None:
        return default
    if value.lower() in ("true", "on", "1"):
        return True
    if value.lower() in ("false", "off", "0"):
        return False
    raise Refused(f"failed to convert '{value}' to boolean", f"{key}: true or false", ("parameters",))


def misspelt(config: Config) -> Iterator[Hurts]:
    """A key that the backend does not know is passed over without a word."""
    for key in sorted(config["parameters"]):
        near = difflib.get_close_matches(key, READ, n=1, cutoff=0.75)
        if key not in READ and near:
            yield Hurts(f"the parameter '{key}' is not read", f"did you mean {near[0]}?", ("parameters",))
