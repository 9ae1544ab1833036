"""One model, made: its graph verified and staged, and the texts that go beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from generator import repository
from generator.digests import digests
from generator.heap import return_memory
from generator.onnx_pieces import pieces
from generator.prepare import prepare
from generator.provenance import of_prepared
from generator.to_do import defined, with_texts
from generator.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from generator.provenance import Provenance
    from generator.to_do import Job


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
        repository.MODEL_FILE: pieces(simplified.model),
        **{f"{repository.VERSION}/{name}": path for name, path in simplified.sidecars.items()},
    }
    repository.write_model(staged, graph)
    return_memory()  # of the exporter's copies of the weights

    on_step("verify")
    certificate = verify(
        job.network.name,
        staged / repository.MODEL_FILE,
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
    return Made(*with_texts(job, found, job.labels or prepared.labels))
