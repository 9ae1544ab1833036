"""Execution accelerators, as a GPU server of a release reads them.

Source: onnxruntime_backend, `LoadModel` (src/onnxruntime.cc), by release branch; ONNX Runtime's TensorRT provider.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from generator.checker.rules.instance_groups import resolved_kind
from generator.checker.rules.outcomes import Hurts, Refused
from generator.config.tensorrt_parameters import BY_KEY, PROFILE_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Config = Mapping[str, Any]

CUDA_SINCE = "24.06"
BF16_SINCE = "26.02"
NO_WEAK_TYPING_SINCE = "26.06"
PRECISIONS = ("FP32", "FP16", "INT8")
BOOLEANS = ("true", "on", "1", "false", "off", "0")
ORT_BOOLEANS = ("1", "0", "True", "False", "true", "false")
SHAPE = re.compile(r"[^,]+:\d+(x\d+)*", re.ASCII)
LEVELS = 2  # of /parent/folder
AT = ("optimization", 0, "execution_accelerators", 0, "gpu_execution_accelerator")


def gpu_accelerators(config: Config) -> list[Config]:
    """The entries of the block."""
    accelerators: Config = config.get("optimization", {}).get("execution_accelerators", {})
    return list(accelerators.get("gpu_execution_accelerator", []))


def on_gpu(config: Config, gpus: Sequence[int]) -> bool:
    """Whether an instance is on a GPU: on the CPU the block is not read."""
    groups = config["instance_group"]
    return bool(gpus) and (not groups or any(resolved_kind(group, gpus) != "KIND_CPU" for group in groups))


def accelerators_are_known(config: Config, release: str) -> None:
    """Names, keys and values that the release knows.

    Source: onnxruntime_backend, src/onnxruntime.cc:462.
    """
    for place, entry in enumerate(gpu_accelerators(config)):
        at = (*AT, place)
        known = ("tensorrt", "cuda") if release >= CUDA_SINCE else ("tensorrt",)
        if entry["name"] not in known:
            raise Refused(
                f"unknown Execution Accelerator '{entry['name']}' is requested",
                f"known: {', '.join(known)}",
                (*at, "name"),
            )
        if entry["name"] == "tensorrt":
            for key, value in sorted(entry["parameters"].items()):
                check_parameter(key, value, release, at)


def check_parameter(key: str, value: str, release: str, at: tuple[str | int, ...]) -> None:
    """One parameter of the tensorrt accelerator.

    Source: onnxruntime_backend, src/onnxruntime.cc:494 and :708.
    """
    row = BY_KEY.get(key)
    if row is None or row.since > release:
        near = difflib.get_close_matches(key, BY_KEY, n=1, cutoff=0.6)
        why = f"release {row.since} is the first that knows it" if row else "no release knows it"
        raise Refused(
            f"unknown parameter '{key}' is provided for TensorRT Execution Accelerator",
            f"did you mean {near[0]}?" if near and not row else why,
            (*at, "parameters"),
        )
    if row.kind == "precision":
        known = (*PRECISIONS, "BF16") if release >= BF16_SINCE else PRECISIONS
        if value not in known:
            raise Refused(f"unsupported precision mode '{value}' is requested", f"known: {', '.join(known)}", at)
    elif row.kind == "switch" and value.lower() not in BOOLEANS:
        raise Refused(f"failed to convert '{value}' to boolean", f'{key}: "1" or "0"', (*at, "parameters"))
    elif row.kind == "number" and not value.strip().lstrip("+-")[:1].isdigit():
        raise Refused(
            f"failed to convert '{value}' to unsigned long long integral number", "a whole number", (*at, "parameters")
        )


def accelerators_hurt(config: Config, release: str) -> Iterator[Hurts]:
    """What loads on a GPU and then hurts."""
    for place, entry in enumerate(gpu_accelerators(config)):
        if entry["name"] == "tensorrt":
            yield from parameters_hurt(entry["parameters"], release, (*AT, place))
            yield from profiles_hurt(config, entry["parameters"], (*AT, place))


def parameters_hurt(parameters: Mapping[str, str], release: str, at: tuple[str | int, ...]) -> Iterator[Hurts]:
    """Values that ONNX Runtime or TensorRT take amiss."""
    if not parameters:
        yield Hurts(
            "without a parameter the accelerator is not told its device", "give it one, such as precision_mode", at
        )
    for key, value in sorted(parameters.items()):
        row = BY_KEY.get(key)
        if row and row.kind == "number" and not value.strip().lstrip("+-").isdecimal():
            read = re.match(r"[+-]?\d+", value.strip())
            yield Hurts(f"{key}: '{value}' is read as {read[0] if read else 0}", "a whole number", at)
        if row and row.kind == "switch" and value.lower() in BOOLEANS and value not in ORT_BOOLEANS:
            yield Hurts(f"{key}: ONNX Runtime is handed '{value}', which it does not read", 'write "1" or "0"', at)
    if parameters.get("precision_mode") == "INT8" and "int8_calibration_table_name" not in parameters:
        yield Hurts("INT8 without a calibration table", "int8_calibration_table_name, or another precision_mode", at)
    if parameters.get("precision_mode") == "FP16" and release >= NO_WEAK_TYPING_SINCE:
        yield Hurts(
            "TensorRT 11, in 26.06, has no FP16 by precision_mode", "an image no newer than 26.05, or an FP16 model", at
        )
    for key in ("trt_engine_cache_path", "trt_timing_cache_path"):
        path = parameters.get(key, "")
        if path and (not path.startswith("/") or path.count("/") > LEVELS):
            yield Hurts(
                f"{key}: {path} is made without its parents, and where they are missing the model does not load",
                "a folder one level below one that is there, such as /tmp/<name>",
                at,
            )


def profiles_hurt(config: Config, parameters: Mapping[str, str], at: tuple[str | int, ...]) -> Iterator[Hurts]:
    """Without one profile that ends at the largest batch, engines are built on live traffic or requests fail.

    Source: ONNX Runtime's TensorRT provider; onnxruntime #31624.
    """
    given = [key for key in PROFILE_KEYS if key in parameters]
    if not given:
        if config["max_batch_size"] > 0:
            yield Hurts(
                "dynamic batching without profiles: TensorRT builds its engine anew whenever a larger batch comes",
                ", ".join(PROFILE_KEYS),
                at,
            )
        return
    missing = [key for key in PROFILE_KEYS if key not in given]
    if missing:
        yield Hurts(f"a profile wants its three shapes, and has no {', '.join(missing)}", "give all three, or none", at)
    ends: dict[str, list[list[int]]] = {}
    for key in given:
        yield from shapes_hurt(config, key, parameters[key], ends, at)
    for name, shapes in ends.items():
        if not missing and any(list(sizes) != sorted(sizes) for sizes in zip(*shapes, strict=False)):
            yield Hurts(f"the profile of '{name}' falls between min, opt and max", "min <= opt <= max", at)


def shapes_hurt(
    config: Config, key: str, value: str, ends: dict[str, list[list[int]]], at: tuple[str | int, ...]
) -> Iterator[Hurts]:
    """One end of a profile: a shape for each input, as the config has it, the largest batch at its end."""
    largest, inputs = config["max_batch_size"], {block["name"]: block for block in config["input"]}
    texts = value.split(",")
    if wrong := [text for text in texts if not SHAPE.fullmatch(text)]:
        yield Hurts(f"{key} has '{wrong[0]}', which is no shape", "input:1x3x224x224, with commas between inputs", at)
        return
    shapes = [
        (name, [int(size) for size in sizes.split("x")]) for name, _, sizes in (text.rpartition(":") for text in texts)
    ]
    names = [name for name, _ in shapes]
    if len(names) != len(set(names)):
        yield Hurts(f"{key} has several profiles, of which TensorRT's provider runs the first only", "give one", at)
    for name in sorted(set(names) - inputs.keys()):
        yield Hurts(f"{key} names '{name}', which is no input", f"inputs: {', '.join(inputs)}", at)
    for name in [name for name in inputs if name not in names]:
        yield Hurts(f"{key} has no shape for input '{name}'", "a shape for every input", at)
    for name, sizes in shapes:
        ends.setdefault(name, []).append(sizes)
        want = [int(dim) for dim in inputs[name]["dims"]] if name in inputs else []
        got = sizes[1:] if largest > 0 else sizes
        if want and (len(got) != len(want) or any(w not in (-1, g) for g, w in zip(got, want, strict=True))):
            full = "x".join(map(str, [*(["N"] if largest > 0 else []), *want]))
            yield Hurts(f"{key} has another shape for '{name}' than its dims", f"{name}:{full}", at)
        elif key == PROFILE_KEYS[-1] and largest > 0 and sizes[0] != largest:
            yield Hurts(
                f"{key} ends at batch {sizes[0]} and max_batch_size is {largest}: batches beyond it fail",
                f"let it end at {largest}",
                at,
            )
