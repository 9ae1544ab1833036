"""Build one model: weights, export, simplify, verify, and the files around the graph."""

from collections.abc import Callable, Iterator
from pathlib import Path

from generator.builder.prepare import prepare
from generator.builder.provenance import Provenance, versions
from generator.builder.staleness import Job, network_record, with_texts
from generator.graph.simplify import serialized
from generator.graph.types import BUILD_METHOD, GraphFacts
from generator.repository import folder, layout
from generator.system.files import digests
from generator.system.native import return_memory
from generator.verify.compare import verify


def build_model(job: Job, staged: Path, on_step: Callable[[str], None]) -> tuple[Provenance, dict[str, bytes]]:
    """Write a verified graph into the folder `staged`; return the model's provenance and its other files.

    `on_step` is called with the name of each step when it begins.

    Raises:
        TritongenError: the model cannot be built, or its answers differ from those of the network.
    """
    prepared = prepare(job, on_step)
    simplified = prepared.simplified
    graph: dict[str, bytes | Path | Iterator[bytes]] = {
        layout.MODEL_FILE: serialized(simplified.model),
        **{f"{layout.VERSION}/{name}": path for name, path in simplified.sidecars.items()},
    }
    folder.write_model(staged, graph)
    return_memory()  # the exporter's copies of the weights

    on_step("verify")
    certificate = verify(
        job.network.name,
        staged / layout.MODEL_FILE,
        simplified.model,
        prepared.reference,
        prepared.signature,
        preprocessing=prepared.preprocessing,
        tolerance=job.options.tolerance,
    )

    on_step("publish")
    model = simplified.model
    provenance = Provenance(
        network=network_record(job),
        weights=prepared.weights,
        preprocessing=prepared.preprocessing,
        options=job.options,
        template=None,
        graph=GraphFacts(
            exporter=prepared.exporter,
            ir_version=model.ir_version,
            opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
            nodes_exported=simplified.nodes_before,
            nodes=simplified.nodes_after,
            rewrites=dict(simplified.rewrites),
            unsimplified=simplified.unsimplified,
            method=BUILD_METHOD,
        ),
        signature=prepared.signature,
        certificate=certificate,
        versions=versions(),
        blake3=digests({name: staged / name for name in graph}),
    )
    return with_texts(job, provenance)
