"""One model, made: its graph verified and staged, and the texts that go beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from generator.builder.prepare import prepare
from generator.builder.provenance import of_prepared
from generator.builder.staleness import defined, with_texts
from generator.graph.write import pieces
from generator.repository import folder, layout
from generator.system.files import digests
from generator.system.native import return_memory
from generator.verify.compare import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from generator.builder.provenance import Provenance
    from generator.builder.staleness import Job


@dataclass(frozen=True)
class Made:
    """What is known of a model whose graph is staged, and its other files."""

    found: Provenance
    texts: dict[str, bytes]


def make(job: Job, staged: Path, on_step: Callable[[str], None]) -> Made:
    """Export, simplify and verify a network.

    Args:
        job: what it is made of.
        staged: the folder that becomes the model's; the graph is written there.
        on_step: called with the step that begins.

    Raises:
        TritongenError: it cannot be made, or is not what the network computes.
    """
    prepared = prepare(job, on_step)
    simplified = prepared.simplified
    graph: dict[str, bytes | Path | Iterator[bytes]] = {
        layout.MODEL_FILE: pieces(simplified.model),
        **{f"{layout.VERSION}/{name}": path for name, path in simplified.sidecars.items()},
    }
    folder.write_model(staged, graph)
    return_memory()  # of the exporter's copies of the weights

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
    found = replace(
        of_prepared(job.network, prepared, job.options, certificate),
        network=defined(job),
        blake3=digests({name: staged / name for name in graph}),
    )
    return Made(*with_texts(job, found))
