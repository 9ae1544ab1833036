"""Execution accelerators, as a GPU server of a release reads them.

Source: onnxruntime_backend, `LoadModel` (src/onnxruntime.cc), by release branch; ONNX Runtime's TensorRT provider.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from generator.checker.rules.basics import Config, Place, Row, fits, sizes
from generator.checker.rules.core_blocks import resolved_kind
from generator.config.tensorrt_parameters import BY_KEY, PROFILE_KEYS, SWITCH_WORDS

CUDA_SINCE = "24.06"
BF16_SINCE = "26.02"
NO_WEAK_TYPING_SINCE = "26.06"
ORT_BOOLEANS = ("1", "0", "True", "False", "true", "false")
SHAPE = re.compile(r"[^,]+:\d+(x\d+)*", re.ASCII)
MAX_SLASHES = 2  # of /parent/folder
AT: Place = ("optimization", 0, "execution_accelerators", 0, "gpu_execution_accelerator")


def gpu_accelerators(config: Config) -> list[Config]:
    """Return the GPU accelerators of a config."""
    accelerators: Config = config.get("optimization", {}).get("execution_accelerators", {})
    return list(accelerators.get("gpu_execution_accelerator", []))


def on_gpu(config: Config, gpus: Sequence[int]) -> bool:
    """Return True if an instance is on a GPU; the CPU does not read the accelerators."""
    groups = config["instance_group"]
    return bool(gpus) and (not groups or any(resolved_kind(group, gpus) != "KIND_CPU" for group in groups))


def accelerator_rows(config: Config, release: str) -> Iterator[Row]:
    """Yield the rows for what a release does not know (onnxruntime_backend, src/onnxruntime.cc:462)."""
    known = ("tensorrt", "cuda") if release >= CUDA_SINCE else ("tensorrt",)
    for index, entry in enumerate(gpu_accelerators(config)):
        name, at = entry["name"], (*AT, index)
        unknown = f"unknown Execution Accelerator '{name}' is requested"
        yield name not in known, unknown, f"known: {', '.join(known)}", (*at, "name")
        for key, value in sorted(entry["parameters"].items()) if name == "tensorrt" else ():
            yield from parameter_rows(key, value, release, at)


def parameter_rows(key: str, value: str, release: str, at: Place) -> list[Row]:
    """Return the rows for one parameter of tensorrt (onnxruntime_backend, src/onnxruntime.cc:494 and :708)."""
    row, block = BY_KEY.get(key), (*at, "parameters")
    near = difflib.get_close_matches(key, BY_KEY, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "no release knows it"
    precisions = ("FP32", "FP16", "INT8", *(["BF16"] if release >= BF16_SINCE else []))
    kind, since = (row.kind, row.since) if row else ("", "")
    return [
        (row is None or since > release,
         f"unknown parameter '{key}' is provided for TensorRT Execution Accelerator",
         f"release {since} is the first that knows it" if row else hint, block),
        (kind == "precision" and value not in precisions, f"unsupported precision mode '{value}' is requested",
         f"known: {', '.join(precisions)}", at),
        (kind == "switch" and value.lower() not in SWITCH_WORDS, f"failed to convert '{value}' to boolean",
         f'{key}: "1" or "0"', block),
        (kind == "number" and not value.strip().lstrip("+-")[:1].isdigit(),
         f"failed to convert '{value}' to unsigned long long integral number", "write a whole number", block),
    ]  # fmt: skip


def accelerator_warnings(config: Config, release: str) -> Iterator[Row]:
    """Yield the rows for accelerators that load on a GPU and then misbehave."""
    for index, entry in enumerate(gpu_accelerators(config)):
        if entry["name"] == "tensorrt":
            yield from parameter_warnings(entry["parameters"], release, (*AT, index))
            yield from profile_warnings(config, entry["parameters"], (*AT, index))


def parameter_warnings(parameters: Mapping[str, str], release: str, at: Place) -> Iterator[Row]:
    """Yield the rows for values that ONNX Runtime or TensorRT misread."""
    yield (not parameters, "without a parameter the backend does not pass the device on to the accelerator",
           "set a parameter, such as precision_mode", at)  # fmt: skip
    for key, value in sorted(parameters.items()):
        kind = BY_KEY[key].kind if key in BY_KEY else ""
        number = re.match(r"[+-]?\d+", value.strip())
        yield from [
            (kind == "number" and not value.strip().lstrip("+-").isdecimal(),
             f"{key}: '{value}' is read as {number[0] if number else 0}", "write a whole number", at),
            (kind == "switch" and value.lower() in SWITCH_WORDS and value not in ORT_BOOLEANS,
             f"{key}: ONNX Runtime gets '{value}', which it does not read", 'write "1" or "0"', at),
        ]  # fmt: skip
    precision = parameters.get("precision_mode")
    yield from [
        (precision == "INT8" and "int8_calibration_table_name" not in parameters, "INT8 without a calibration table",
         "set int8_calibration_table_name, or another precision_mode", at),
        (precision == "FP16" and release >= NO_WEAK_TYPING_SINCE,
         "TensorRT 11, in 26.06, has no FP16 by precision_mode", "use an image up to 26.05, or an FP16 model", at),
    ]  # fmt: skip
    for key in ("trt_engine_cache_path", "trt_timing_cache_path"):
        path = parameters.get(key, "")
        yield (path and (not path.startswith("/") or path.count("/") > MAX_SLASHES),
               f"{key}: {path} is created without its parents; if they are missing, the model does not load",
               "use a folder one level below an existing one, such as /tmp/<name>", at)  # fmt: skip


def profile_warnings(config: Config, parameters: Mapping[str, str], at: Place) -> Iterator[Row]:
    """Yield the rows for profiles with which requests fail, or wait for an engine's build (onnxruntime #31624)."""
    keys = [key for key in PROFILE_KEYS if key in parameters]
    missing = [key for key in PROFILE_KEYS if key not in parameters]
    yield from [
        (not keys and config["max_batch_size"] > 0,
         "dynamic batching without profiles: TensorRT rebuilds its engine whenever a larger batch comes",
         f"set {', '.join(PROFILE_KEYS)}", at),
        (keys and missing, f"a profile needs its three shapes, and has no {', '.join(missing)}",
         "set all three, or none", at),
    ]  # fmt: skip
    ends: dict[str, list[list[int]]] = {}
    for key in keys:
        texts = parameters[key].split(",")
        if wrong := [text for text in texts if not SHAPE.fullmatch(text)]:
            example = "write input:1x3x224x224, with commas between inputs"
            yield True, f"{key} has '{wrong[0]}', which is not a shape", example, at
            continue
        pairs = [text.rpartition(":") for text in texts]
        shapes = [(name, sizes(dims.split("x"))) for name, _, dims in pairs]
        yield from shape_warnings(config, key, shapes, at)
        for name, shape in shapes:
            ends.setdefault(name, []).append(shape)
    for name, end in ends.items():
        decreasing = not missing and any(list(dims) != sorted(dims) for dims in zip(*end, strict=False))
        yield decreasing, f"the profile of '{name}' decreases from min to opt or max", "min <= opt <= max", at


def shape_warnings(config: Config, key: str, shapes: Sequence[tuple[str, list[int]]], at: Place) -> Iterator[Row]:
    """Yield the rows for one end of a profile: each input has a shape that fits its dims and the largest batch."""
    largest, names = config["max_batch_size"], [name for name, _ in shapes]
    dims = {block["name"]: sizes(block["dims"]) for block in config["input"]}
    yield from [
        (len(names) != len(set(names)), f"{key} has several profiles; TensorRT's provider uses only the first",
         "write one", at),
        *((True, f"{key} names '{name}', which is not an input", f"inputs: {', '.join(dims)}", at)
          for name in sorted(set(names) - dims.keys())),
        *((name not in names, f"{key} has no shape for input '{name}'", "write a shape for every input", at)
          for name in dims),
    ]  # fmt: skip
    for name, shape in shapes:
        wanted = dims.get(name, [])
        misfit = wanted and not fits(shape[largest > 0 :], wanted)
        full = "x".join([*(["N"] if largest > 0 else []), *map(str, wanted)])
        yield from [
            (misfit, f"{key} has a shape for '{name}' that does not fit its dims", f"{name}:{full}", at),
            (not misfit and key == PROFILE_KEYS[-1] and 0 < largest != shape[0],
             f"{key} ends at batch {shape[0]} and max_batch_size is {largest}: batches beyond it fail",
             f"let it end at {largest}", at),
        ]  # fmt: skip
