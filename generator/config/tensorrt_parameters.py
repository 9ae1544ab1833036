"""The parameters of the ONNX Runtime backend's `tensorrt` execution accelerator, one row each.

Source: onnxruntime_backend, src/onnxruntime.cc, by release branch. A key that a release does not know fails the load:
"unknown parameter 'K' is provided for TensorRT Execution Accelerator". The CPU ignores the block, so a typo fails only
on a GPU server.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["precision", "switch", "number", "text"]
# ONNX Runtime reads switches as 1, 0, True and False; the backend passes the text on unchanged.
SWITCH_WORDS = {"1": "1", "true": "1", "on": "1", "0": "0", "false": "0", "off": "0"}

# The three batch sizes of the engine's profile.
PROFILE_KEYS = tuple(f"trt_profile_{end}_shapes" for end in ("min", "opt", "max"))


@dataclass(frozen=True)
class Parameter:
    """A key, the kind of its value, the first release that knows it, and the option of `build` that sets it."""

    key: str
    kind: Kind
    since: str
    option: str | None = None
    lowest: int = 0
    highest: int = 2**63 - 1


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("precision_mode", "precision", "21.06", "precision"),
    Parameter("max_workspace_size_bytes", "number", "21.06", "workspace_mib"),
    Parameter("int8_calibration_table_name", "text", "21.09"),
    Parameter("int8_use_native_calibration_table", "switch", "21.09"),
    Parameter("trt_engine_cache_enable", "switch", "21.09", "every config"),
    Parameter("trt_engine_cache_path", "text", "21.09", "every config"),
    Parameter("trt_engine_cache_prefix", "text", "24.04", "every config"),
    Parameter("trt_timing_cache_enable", "switch", "24.04", "every config"),
    Parameter("trt_timing_cache_path", "text", "24.04", "every config"),
    Parameter("trt_profile_min_shapes", "text", "24.04", "profile"),
    Parameter("trt_profile_opt_shapes", "text", "24.04", "profile"),
    Parameter("trt_profile_max_shapes", "text", "24.04", "profile"),
    Parameter("trt_builder_optimization_level", "number", "24.04", "builder_optimization_level", highest=5),
    Parameter("trt_max_partition_iterations", "number", "24.04", lowest=1),
    Parameter("trt_min_subgraph_size", "number", "24.04", lowest=1),
    Parameter("trt_dla_enable", "switch", "24.04"),
    Parameter("trt_dla_core", "number", "24.04"),
    Parameter("trt_dump_subgraphs", "switch", "24.04"),
    Parameter("trt_force_sequential_engine_build", "switch", "24.04"),
    Parameter("trt_context_memory_sharing_enable", "switch", "24.04"),
    Parameter("trt_layer_norm_fp32_fallback", "switch", "24.04"),
    Parameter("trt_force_timing_cache", "switch", "24.04"),
    Parameter("trt_detailed_build_log", "switch", "24.04"),
    Parameter("trt_build_heuristics_enable", "switch", "24.04"),
    Parameter("trt_sparsity_enable", "switch", "24.04"),
    Parameter("trt_auxiliary_streams", "number", "24.04", lowest=-1),
    Parameter("trt_tactic_sources", "text", "24.04"),
    Parameter("trt_extra_plugin_lib_paths", "text", "24.04"),
    Parameter("trt_cuda_graph_enable", "switch", "24.04"),
    Parameter("trt_dump_ep_context_model", "switch", "24.04"),
    Parameter("trt_ep_context_file_path", "text", "24.04"),
    Parameter("trt_ep_context_embed_mode", "number", "24.04", highest=1),
)
BY_KEY = {parameter.key: parameter for parameter in PARAMETERS}


def as_written(parameter: Parameter, value: object) -> str:
    """Return a value as text for config.pbtxt, a switch as 1 or 0; raise ValueError for a wrong kind or range."""
    text = str(value).strip()
    match parameter.kind:
        case "switch":
            if text.lower() not in SWITCH_WORDS:
                raise ValueError("must be true or false")
            return SWITCH_WORDS[text.lower()]
        case "number":
            if isinstance(value, bool) or not text.removeprefix("-").isdecimal():
                raise ValueError("must be a whole number")
            if not parameter.lowest <= int(text) <= parameter.highest:
                raise ValueError(
                    f"must be from {parameter.lowest} to {parameter.highest}"
                    if parameter.highest < 2**63 - 1
                    else f"must be {parameter.lowest} or more"
                )
            return str(int(text))
        case _:
            if isinstance(value, bool) or not text:
                raise ValueError("must be a text")
            return text
