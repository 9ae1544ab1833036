"""Simplify a graph: onnxsim, tritongen's rewrites, then remove documentation and metadata."""

from collections.abc import Iterable
from typing import Any

import onnx
import onnxsim

from generator.errors import ExportFailed, first_line
from generator.graph.large_weights import simplify_without_weights
from generator.graph.rewrites import rewrite
from generator.graph.types import REWRITES, Exported, Simplified
from generator.system.native import silent


def simplify(name: str, exported: Exported, rewrites: Iterable[str] = REWRITES) -> Simplified:
    """Fold constants, infer shapes and rewrite; the model of `exported` is consumed.

    onnxsim's own check, which compares ONNX with ONNX, is not needed: `verify` compares with the network.

    Raises:
        ExportFailed: onnxsim could not read or simplify the graph.
    """
    before = len(exported.model.graph.node)
    try:
        with silent():
            model = simplify_without_weights(exported.model, lambda light: onnxsim.simplify(light)[0])
        model, applied = rewrite(model, rewrites)
    except Exception as error:
        raise ExportFailed(name, f"it cannot be simplified: {first_line(error)}") from error
    return Simplified(without_traces(model), before, len(model.graph.node), applied)


def keep_as_given(exported: Exported, why: str) -> Simplified:
    """Return the graph unsimplified, with the reason."""
    count = len(exported.model.graph.node)
    return Simplified(without_traces(exported.model), count, count, sidecars=exported.sidecars, unsimplified=why)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove documentation and metadata from a model.

    Exporters write source paths and stack traces of the building machine there, onnxsim a log of its work.
    """
    graph = model.graph
    entries: tuple[Any, ...] = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info)
    for entry in (*entries, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]
    return model
