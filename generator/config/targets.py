"""The devices that tritongen knows, one row each: their precisions, and the tritonserver images that run on them.

Tags are Triton releases (`yy.mm`, nvcr.io/nvidia/tritonserver:<tag>-py3). `tritongen list` can print the table.
"""

import re
from dataclasses import dataclass, field

from generator.errors import BadValue, UnknownName
from generator.types import PRECISIONS, Precision

RELEASE = r"\d\d\.(0[1-9]|1[0-2])"


@dataclass(frozen=True)
class Window:
    """The image tags that run a precision on a device, and the reasons why others do not; `last` is None if unknown."""

    first: str
    last: str | None
    why_not_before: str
    why_not_after: str = ""

    def refusal(self, tag: str) -> tuple[str, str] | None:
        """Return why a tag is outside and the nearest tag inside, or None if the tag is inside."""
        if tag < self.first:
            return self.why_not_before, self.first
        return (self.why_not_after, self.last) if self.last and tag > self.last else None

    def __str__(self) -> str:
        """Format the window, such as `24.05 to 24.09`."""
        return f"{self.first} to {self.last}" if self.last else f"{self.first} and later"


@dataclass(frozen=True)
class Target:
    """A device; `compute_capability` is None for the CPU, `gpu_name` a pattern for the name that nvidia-smi prints."""

    name: str
    title: str
    compute_capability: str | None
    memory_gb: tuple[int, ...]
    gpu_name: str | None
    windows: dict[Precision, Window]
    default_tag: str
    published: tuple[Precision, ...] = ()
    sources: tuple[str, ...] = field(default=(), repr=False)

    @property
    def gpu(self) -> bool:
        """True for a GPU."""
        return self.compute_capability is not None


# Reasons and sources that several rows share.
NO_CONFIG_NAME = "--model-config-name begins with 24.05"
NO_VOLTA = "TensorRT 10.5, in 24.10, ended the support of compute capability 7.0"
NO_WEAK_TYPING = "TensorRT 11, in 26.06, has no FP16 by precision_mode"
OLDER_ONNX_RUNTIME = "the models are written for ONNX Runtime 1.18, of 24.05"
CONFIG_NAME_SOURCE = "24.05: server r24.05 has --model-config-name, r24.04 has not (src/command_line_parser.cc)"

TARGETS: tuple[Target, ...] = (
    Target(
        "v100",
        "V100",
        compute_capability="7.0",
        memory_gb=(16, 32),
        gpu_name=r"\bV100",
        windows=dict.fromkeys(PRECISIONS, Window("24.05", "24.09", NO_CONFIG_NAME, NO_VOLTA)),
        default_tag="24.09",
        published=("fp32",),
        sources=(
            "compute capability: NVIDIA's CUDA GPU list; memory: NVIDIA V100 data sheet",
            CONFIG_NAME_SOURCE,
            "24.09: TensorRT 10.5 has removed the support of Volta (TensorRT 10.5.0 release notes)",
            "and onnxruntime_backend takes up TensorRT 10.5 in r24.10 (#274)",
        ),
    ),
    Target(
        "t4",
        "T4",
        compute_capability="7.5",
        memory_gb=(16,),
        gpu_name=r"\bT4\b",
        windows={
            "fp16": Window("24.05", "26.05", NO_CONFIG_NAME, NO_WEAK_TYPING),
            "fp32": Window("24.05", None, NO_CONFIG_NAME),
        },
        default_tag="24.09",
        published=("fp16", "fp32"),
        sources=(
            "compute capability: NVIDIA's CUDA GPU list; memory: NVIDIA T4 data sheet",
            CONFIG_NAME_SOURCE,
            "26.05: TensorRT 11 has no weakly typed FP16 (TensorRT 11 migration guide),",
            "and onnxruntime_backend takes up TensorRT 11 in r26.06 (#344)",
            "24.09 by default: the image of the V100, so that both tables come from one TensorRT",
        ),
    ),
    Target(
        "cpu",
        "CPU",
        compute_capability=None,
        memory_gb=(),
        gpu_name=None,
        windows={"fp32": Window("24.05", None, OLDER_ONNX_RUNTIME)},
        default_tag="24.10",
        sources=(
            "24.05: its ONNX Runtime is 1.18 (server r24.05, build.py)",
            "24.10 by default: the release of the embedded engine's tritonserver 2.51.0",
        ),
    ),
)
BY_NAME = {target.name: target for target in TARGETS}
CPU = BY_NAME["cpu"]
GPUS = tuple(target for target in TARGETS if target.gpu)
DEFAULT_TAG = "24.09"  # for an unknown GPU: the default of both known ones


def find(name: str) -> Target:
    """Return the device of a name, in any letter case; raise UnknownName if there is none."""
    if name.lower() not in BY_NAME:
        raise UnknownName("GPU", name, BY_NAME)
    return BY_NAME[name.lower()]


def of_gpu(gpu_name: str) -> Target | None:
    """Return the device for a GPU name from nvidia-smi, such as `Tesla V100-SXM2-16GB`, or None."""
    return next((gpu for gpu in GPUS if gpu.gpu_name and re.search(gpu.gpu_name, gpu_name)), None)


def check_release(tag: str, parameter: str = "image_tag") -> None:
    """Raise BadValue unless a tag is a release number."""
    if not re.fullmatch(RELEASE, tag):
        raise BadValue(parameter, tag, "not a release of Triton", "releases are YY.MM, such as 24.09")


def check_precision(target: Target, precision: Precision) -> None:
    """Raise BadValue if the device does not run the precision; the hint names one that it runs."""
    if precision not in target.windows:
        runs = next(iter(target.windows))
        why = f"the {target.title} serves {runs.upper()} only"
        raise BadValue("precision", precision, why, f"use `precision={runs}`")


def check_tag(target: Target, precision: Precision, tag: str) -> None:
    """Raise BadValue if an image cannot run a precision on a device; the hint names the nearest image that can."""
    check_release(tag)
    check_precision(target, precision)
    if refusal := target.windows[precision].refusal(tag):
        why, nearest = refusal
        raise BadValue("image_tag", tag, f"cannot run {precision.upper()} on a {target.title}: {why}", f"use {nearest}")
