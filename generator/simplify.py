"""A smaller graph that computes the same: onnxsim, our rewrites, then nothing left of the machine that exported it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxsim

from generator.errors import ExportFailed
from generator.rewrites import rewrite
from generator.spec import REWRITES, Exported, Simplified

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx


def simplify(name: str, exported: Exported, rewrites: Iterable[str] = REWRITES) -> Simplified:
    """Fold constants, infer shapes, rewrite; a graph whose constants are not in memory is left as it is.

    onnxsim's own check compares ONNX with ONNX; `verify` compares with the network, so it is left out here.

    Raises:
        ExportFailed: onnxsim could not read or simplify the graph.
    """
    before = len(exported.model.graph.node)
    if exported.sidecars:
        return Simplified(exported.model, before, before, sidecars=exported.sidecars)
    try:
        model, _ = onnxsim.simplify(exported.model)
    except Exception as error:
        raise ExportFailed(name, f"onnxsim: {error}") from error
    model, applied = rewrite(model, rewrites)
    return Simplified(without_traces(model), before, len(model.graph.node), applied)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without documentation and metadata.

    Exporters put source paths and stack traces of the building machine there, onnxsim a log of its work.
    """
    graph = model.graph
    entries: tuple[Any, ...] = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info)
    for entry in (*entries, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]
    return model
