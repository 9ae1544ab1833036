"""tritongen's own rewrites of an ONNX graph, applied after onnxsim; each module starts with its equation.

A rewrite is kept if `make bench` shows it faster on some network and slower on none beyond the noise. Verification
runs after the rewrites and compares with the network itself, so a wrong rewrite is not published.
"""

from collections.abc import Iterable

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from generator.graph.rewrites import concat_of_concat, slice_of_concat, slice_of_conv
from generator.graph.types import REWRITES

# Each function rewrites a graph in place and returns the number of replaced nodes. Each makes room for the next.
FUNCTIONS = (slice_of_conv.apply, slice_of_concat.apply, concat_of_concat.apply)


def rewrite(model: onnx.ModelProto, names: Iterable[str]) -> tuple[onnx.ModelProto, dict[str, int]]:
    """Apply the named rewrites; return the model and the number of nodes that each replaced.

    Shapes must have been inferred: a rewrite skips nodes whose shapes are unknown.
    """
    chosen = set(names)
    if model.graph.sparse_initializer:
        return model, {}  # onnx-ir would lose them
    graph_model = ir.from_proto(model)
    counts = {name: apply(graph_model.graph) for name, apply in zip(REWRITES, FUNCTIONS, strict=True) if name in chosen}
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return model, counts
    RemoveUnusedNodesPass()(graph_model)
    return ir.to_proto(graph_model), counts
