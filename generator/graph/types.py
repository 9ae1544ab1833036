"""Values that the steps on a graph return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


# Raise it if the same network, weights, options and versions of packages now give other bytes: models are then built
# again. 1: random weights and folded batch norms differed between kinds of processors.
BUILD_METHOD = 2
# Names of the rewrites in generator.graph.rewrites, in the order of application; here they need no import of onnx.
REWRITES = ("slice-of-conv", "slice-of-concat", "concat-of-concat")


@dataclass(frozen=True)
class Exported:
    """A network as ONNX, and the name of its exporter.

    `sidecars` are the files of external data by location, of a model that is too large to read into memory; such a
    graph is served unchanged.
    """

    model: onnx.ModelProto
    exporter: str
    sidecars: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Simplified:
    """A graph after onnxsim and the rewrites: node counts before and after, and the number each rewrite replaced.

    `unsimplified` is the reason why the graph was not simplified, or None.
    """

    model: onnx.ModelProto
    nodes_before: int
    nodes_after: int
    rewrites: Mapping[str, int] = field(default_factory=dict)
    sidecars: Mapping[str, Path] = field(default_factory=dict)
    unsimplified: str | None = None


@dataclass(frozen=True)
class GraphFacts:
    """Facts about a published graph: node counts, and the number of nodes that each rewrite replaced.

    `method` is the `BUILD_METHOD` that made it.
    """

    exporter: str | None
    ir_version: int
    opset: dict[str, int]
    nodes_exported: int
    nodes: int
    rewrites: dict[str, int]
    unsimplified: str | None
    method: int = 1
