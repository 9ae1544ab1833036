"""The config's settings for an ONNX Runtime session, as onnxruntime_backend reads them.

Source: onnxruntime_backend, constructor of `ModelState` and `LoadModel` (src/onnxruntime.cc); backend, `ParseIntValue`
and `ParseBoolValue` (src/backend_common.cc). The backend ignores keys that it does not know.
"""

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from generator.checker.rules.basics import Caution, Config, Refusal
from generator.config.tensorrt_parameters import SWITCH_WORDS

# graph { level }: -1 basic, 1 extended, 2 none; any other, such as 0, all.
GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}
# NVIDIA's image is built with it (server, build.py); the embedded server has none.
CPU_ACCELERATORS = ("openvino",)
KNOWN = (
    "execution_mode", "intra_op_thread_count", "inter_op_thread_count", "enable_mem_arena", "enable_mem_pattern",
    "memory.enable_memory_arena_shrinkage", "session.use_device_allocator_for_initializers", "cudnn_conv_algo_search",
    "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream",
)  # fmt: skip


@dataclass(frozen=True)
class SessionSettings:
    """A session's settings; 0 threads means ONNX Runtime's default."""

    graph_level: str
    parallel: bool
    intra_op_threads: int
    inter_op_threads: int
    mem_arena: bool
    mem_pattern: bool


def session_settings(config: Config, accelerators: Collection[str] = CPU_ACCELERATORS) -> SessionSettings:
    """Read the settings; `accelerators` are the CPU accelerators of the server's build, others are refused.

    Source: onnxruntime_backend, src/onnxruntime.cc:217, :247 and :928. A CPU server does not read the GPU accelerators.
    """
    optimization = config.get("optimization", {})
    execution_mode = integer(config, "execution_mode")
    if execution_mode not in (0, 1):
        sentence = "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got"
        raise Refusal(f"{sentence} {execution_mode} .", "0 is sequential, 1 parallel", ("parameters",))
    settings = SessionSettings(
        graph_level=GRAPH_LEVELS.get(int(optimization.get("graph", {}).get("level", 0)), "ORT_ENABLE_ALL"),
        parallel=execution_mode == 1,
        intra_op_threads=max(0, integer(config, "intra_op_thread_count")),
        inter_op_threads=max(0, integer(config, "inter_op_thread_count")),
        mem_arena=boolean(config, "enable_mem_arena"),
        mem_pattern=boolean(config, "enable_mem_pattern"),
    )
    at = ("optimization", 0, "execution_accelerators", 0, "cpu_execution_accelerator", 0)
    for entry in optimization.get("execution_accelerators", {}).get("cpu_execution_accelerator", []):
        if (name := entry.get("name", "")) not in accelerators:
            sentence = f"unknown Execution Accelerator '{name}' is requested"
            raise Refusal(sentence, "leave cpu_execution_accelerator out", at)
    return settings


def text(config: Config, key: str, default: str) -> str:
    """Return a model parameter's string."""
    entry = config.get("parameters", {}).get(key)
    return default if entry is None else str(entry.get("string_value", ""))


def integer(config: Config, key: str) -> int:
    """Read a number as C's stoi does, which skips leading blanks and trailing text; the default is 0."""
    value = text(config, key, "0")
    number = re.match(r"\s*[+-]?\d+", value)
    if number is None or not -(2**31) <= int(number.group()) < 2**31:
        raise Refusal(f"failed to convert '{value}' to integral number", f"{key}: a whole number", ("parameters",))
    return int(number.group())


def boolean(config: Config, key: str) -> bool:
    """Read true, on, 1 or false, off, 0, in any letter case; the default is true."""
    value = text(config, key, "true")
    if value.lower() not in SWITCH_WORDS:
        raise Refusal(f"failed to convert '{value}' to boolean", f"{key}: true or false", ("parameters",))
    return SWITCH_WORDS[value.lower()] == "1"


def misspelt_parameters(config: Config) -> Iterator[Caution]:
    """Warn of keys close to one that the backend reads; it ignores unknown keys silently."""
    for key in sorted(config["parameters"]):
        near = difflib.get_close_matches(key, KNOWN, n=1, cutoff=0.75)
        if key not in KNOWN and near:
            yield Caution(f"the parameter '{key}' is not read", f"did you mean {near[0]}?", ("parameters",))
