"""A smaller graph that computes the same: onnxsim, our rewrites, then nothing left of the machine that exported it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxsim

from generator.errors import ExportFailed, first_line
from generator.graph.detach_weights import weightless
from generator.graph.rewrites import rewrite
from generator.graph.types import REWRITES, Exported, Simplified
from generator.system.native import silent

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx


def simplify(name: str, exported: Exported, rewrites: Iterable[str] = REWRITES) -> Simplified:
    """Fold constants, infer shapes, rewrite; the model of `exported` is consumed.

    onnxsim's own check compares ONNX with ONNX; `verify` compares with the network, so it is left out here.

    Raises:
        ExportFailed: onnxsim could not read or simplify the graph.
    """
    before = len(exported.model.graph.node)
    try:
        with silent():
            model = weightless(exported.model, lambda light: onnxsim.simplify(light)[0])
        model, applied = rewrite(model, rewrites)
    except Exception as error:
        raise ExportFailed(name, f"it cannot be simplified: {first_line(error)}") from error
    return Simplified(without_traces(model), before, len(model.graph.node), applied)


def as_given(exported: Exported, why: str) -> Simplified:
    """The graph as it was, and why."""
    count = len(exported.model.graph.node)
    return Simplified(without_traces(exported.model), count, count, sidecars=exported.sidecars, unsimplified=why)


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
