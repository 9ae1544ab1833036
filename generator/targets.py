"""The devices a repository is built for, one row each.

Image tags are Triton releases (`yy.mm`, nvcr.io/nvidia/tritonserver:<tag>-py3). Sources of the windows:

- 24.05 is the first with --model-config-name and the TensorRT profile keys that the configs use
  (server r24.05, onnxruntime_backend r24.04).
- V100 (compute capability 7.0) ends at 24.09, the last with TensorRT 10.4: "NVIDIA Volta support has been
  removed starting with TensorRT 10.5" (TensorRT 10.5.0 release notes).
- FP16 by `precision_mode` ends at 26.05: TensorRT 11, in 26.06, has no weakly typed FP16
  (TensorRT 11 migration guide; onnxruntime_backend #344).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import BadOption, UnknownName

if TYPE_CHECKING:
    from generator.spec import Precision

NEWEST = "99.12"  # no upper end is known


@dataclass(frozen=True)
class Target:
    """A GPU: what it can do, and which images can run it."""

    name: str
    title: str
    compute_capability: str
    fp32_tags: tuple[str, str]
    fp16_tags: tuple[str, str]
    default_tag: str
    published: tuple[Precision, ...]

    def tags(self, precision: Precision) -> tuple[str, str]:
        """First and last image tag that runs this precision here."""
        return self.fp16_tags if precision == "fp16" else self.fp32_tags


TARGETS: tuple[Target, ...] = (
    Target("v100", "V100", "7.0", ("24.05", "24.09"), ("24.05", "24.09"), "24.09", ("fp32",)),
    Target("t4", "T4", "7.5", ("24.05", NEWEST), ("24.05", "26.05"), "24.09", ("fp16", "fp32")),
)
DEFAULT_TAG = "24.09"  # one image, and so one TensorRT, for both published tables


def find(name: str) -> Target:
    """The row of a GPU's name, in any letter case.

    Raises:
        UnknownName: no such row.
    """
    for target in TARGETS:
        if target.name == name.lower():
            return target
    raise UnknownName("GPU", name, (target.name for target in TARGETS))


def check_release(tag: str) -> None:
    """Raise BadOption unless a tag has the form of a release."""
    if not re.fullmatch(r"\d\d\.(0[1-9]|1[0-2])", tag):
        raise BadOption("--image-tag", tag, "it is no release of Triton", "releases are YY.MM, such as 24.09")


def check_tag(target: Target, precision: Precision, tag: str) -> None:
    """Hold an image tag to the target's window.

    Raises:
        BadOption: the image cannot run this precision on this GPU; the hint is the nearest that can.
    """
    check_release(tag)
    first, last = target.tags(precision)
    if first <= tag <= last:
        return
    nearest = first if tag < first else last
    why = (
        "older releases do not know --model-config-name and the TensorRT profile keys"
        if tag < first
        else f"TensorRT 10.5 and later do not support compute capability {target.compute_capability}"
        if target.name == "v100"
        else "TensorRT 11 has no FP16 by precision_mode"
    )
    raise BadOption(
        "--image-tag", tag, f"it cannot run {precision.upper()} on a {target.title}: {why}", f"use {nearest}"
    )
