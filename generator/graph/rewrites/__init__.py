"""Our own rewrites of an ONNX graph, after onnxsim: a table, a file each, its equation at the file's top.

Each is kept because `make bench` shows it faster somewhere and nowhere slower beyond the noise. Verification comes
after them and compares with the network itself, so that a rewrite that is wrong is not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from generator.graph.rewrites import concat_of_concat, slice_of_concat, slice_of_conv
from generator.graph.types import REWRITES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import onnx


@dataclass(frozen=True)
class Rewrite:
    """A name, and a function that rewrites a graph in place and returns how many nodes it replaced."""

    name: str
    apply: Callable[[ir.Graph], int]


# In this order: each makes room for the next.
TABLE = (
    Rewrite("slice-of-conv", slice_of_conv.apply),
    Rewrite("slice-of-concat", slice_of_concat.apply),
    Rewrite("concat-of-concat", concat_of_concat.apply),
)
assert tuple(rewrite.name for rewrite in TABLE) == REWRITES  # noqa: S101 (options name them without importing onnx)


def rewrite(model: onnx.ModelProto, names: Iterable[str]) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model after the named rewrites, and how many nodes each replaced.

    Shapes must have been inferred: a rewrite leaves alone what it does not know the shape of.
    """
    chosen = set(names)
    if model.graph.sparse_initializer:
        return model, {}  # onnx-ir would lose them
    graph_model = ir.from_proto(model)
    applied = {rewrite.name: rewrite.apply(graph_model.graph) for rewrite in TABLE if rewrite.name in chosen}
    applied = {name: count for name, count in applied.items() if count}
    if not applied:
        return model, applied
    RemoveUnusedNodesPass()(graph_model)
    return ir.to_proto(graph_model), applied
