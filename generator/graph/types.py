"""The values that the steps on a graph hand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx


# Names of generator.rewrites.
REWRITES = ("slice-of-conv", "slice-of-concat", "concat-of-concat")


@dataclass(frozen=True)
class Exported:
    """A network as ONNX, and what wrote it.

    `sidecars` are files of external data, by the location that the graph names, of a model too large to be read
    into memory; such a graph is served as it is.
    """

    model: onnx.ModelProto
    exporter: str
    sidecars: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Simplified:
    """The graph after onnxsim and our rewrites; node counts before and after, and what each rewrite replaced.

    `unsimplified` says why it is the graph as it was.
    """

    model: onnx.ModelProto
    nodes_before: int
    nodes_after: int
    rewrites: Mapping[str, int] = field(default_factory=dict)
    sidecars: Mapping[str, Path] = field(default_factory=dict)
    unsimplified: str | None = None


@dataclass(frozen=True)
class GraphFacts:
    """What became of a graph on its way into the repository: counts of nodes, and what each rewrite replaced."""

    exporter: str | None
    ir_version: int
    opset: dict[str, int]
    nodes_exported: int
    nodes: int
    rewrites: dict[str, int]
    unsimplified: str | None
