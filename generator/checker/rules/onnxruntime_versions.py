"""What the ONNX Runtime of each Triton release reads.

Sources: the release's ONNX Runtime: server, build.py, by branch. Its newest opset of ai.onnx and its newest IR version:
each of these versions was given a model with one too new, and says in refusing it what it takes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OnnxRuntime:
    """From a Triton release on: the version, and the newest opset and IR version that it takes."""

    since: str
    version: str
    opset: int
    ir_version: int


VERSIONS = (
    OnnxRuntime("24.03", "1.17", 20, 9),
    OnnxRuntime("24.05", "1.18", 21, 10),
    OnnxRuntime("24.08", "1.19", 21, 10),
    OnnxRuntime("24.12", "1.20", 21, 10),
    OnnxRuntime("25.03", "1.21", 22, 10),
    OnnxRuntime("25.05", "1.22", 22, 10),
    OnnxRuntime("25.08", "1.23", 23, 11),
    OnnxRuntime("26.02", "1.24", 25, 13),
    OnnxRuntime("26.07", "1.27", 26, 13),
)


def onnx_runtime_of(release: str) -> OnnxRuntime:
    """The row of a release; the first for older ones."""
    return next((row for row in reversed(VERSIONS) if row.since <= release), VERSIONS[0])
