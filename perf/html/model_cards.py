"""What is known of each measured model: its certificate and provenance, where its repository is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator.builder import provenance
from generator.repository.layout import PROVENANCE_FILE, VERSION
from generator.repository.model_files import ModelFolder
from generator.system.files import digest_of_digests, digest_of_folder
from perf.runs.compare import hashes
from perf.runs.tables import Table, title

if TYPE_CHECKING:
    from generator.builder.provenance import Provenance
    from generator.verify.certificate import BatchError, Certificate
    from perf.runs.store import Stored
    from perf.runs.types import Model

NOT_AT_HAND = "its repository is not at hand"
NOT_KNOWN = "the server's files were not at hand, so which bytes it served is not known"
OTHER_BYTES = "the repository holds another model of this name now"


@dataclass(frozen=True)
class Card:
    """One model. `facts` are names and values; `why` says what keeps the certificate from being here."""

    name: str
    facts: tuple[tuple[str, str], ...]
    certificate: Table | None = None
    worst: str = "-"
    why: str = ""


def cards(stored: Stored, repository: Path) -> tuple[Card, ...]:
    """A card a model, in the run's order, with what the repository knows of it."""
    return tuple(card(stored, model, repository) for model in stored.run.models)


def card(stored: Stored, model: Model, repository: Path) -> Card:
    """The model's; the repository's word counts where it is of the bytes that were measured, and holds them still."""
    digest = hashes(stored).get(model.name)
    served = next((r.origin.config_sha256 for r in stored.repeats if r.origin and r.point.model == model.name), "-")
    facts = (
        ("Weights", model.weights),
        ("BLAKE3 of the version's files", digest or "-"),
        ("SHA-256 of the config as the server completed it", served),
    )
    if digest is None:
        return Card(title(model.name), facts, why=NOT_KNOWN)
    if Path(model.name).name != model.name:  # a run's file names no place outside of the repository
        return Card(title(model.name), facts, why=NOT_AT_HAND)
    folder = repository / model.name
    try:
        found = provenance.read(ModelFolder(folder))
        if digest != digest_of_folder(folder / VERSION) or digest != digest_of_version(found):
            return Card(title(model.name), facts, why=OTHER_BYTES)
    except OSError:
        return Card(title(model.name), facts, why=NOT_AT_HAND)
    except ValueError:
        return Card(title(model.name), facts, why=f"its {PROVENANCE_FILE} is not one that this tritongen writes")
    worst = f"{found.certificate.worst.relative_error:.2g}"
    return Card(title(model.name), facts + graph_facts(found), certificate(found.certificate), worst)


def digest_of_version(found: Provenance) -> str:
    """What a run calls a version's files, from the digests of its provenance."""
    return digest_of_digests({name.removeprefix(f"{VERSION}/"): one for name, one in found.graph_digests.items()})


def certificate(found: Certificate) -> Table:
    """What was compared before it was published, batch by batch."""
    rows = [(str(batch.batch_size), *errors(batch)) for batch in found.batches]
    beside = (
        (found.fp64, f"{found.reference} in fp32 with itself in fp64"),
        (found.fp16, "an FP16 cast of the graph, on the CPU"),
    )
    rows += [(f"{error.batch_size}: {what}", *errors(error)) for error, what in beside if error]
    heads = ("Batch", "Largest error", "RMS error", "Same first class", "Same first five")
    under = (
        f"ONNX Runtime on the CPU with {found.reference}, fp32; {found.inputs}. Errors over the largest logit; "
        f"a batch passes within {found.tolerance:g}; the other rows are held to nothing."
    )
    return Table("Certificate", heads, tuple(rows), under)


def errors(error: BatchError) -> tuple[str, ...]:
    """One comparison."""
    agree = ("-" if count is None else str(count) for count in (error.top1_agree, error.top5_agree))
    return (f"{error.relative_error:.2g}", f"{error.relative_rms:.2g}", *agree)


def graph_facts(found: Provenance) -> tuple[tuple[str, str], ...]:
    """What made the graph."""
    graph = found.graph
    opsets = ", ".join(f"{domain} {version}" for domain, version in graph.opset.items())
    rewrites = ", ".join(f"{name} {count}" for name, count in graph.rewrites.items()) or "none"
    return (
        ("Graph", f"{graph.nodes_exported} nodes exported, {graph.nodes} served; rewrites: {rewrites}"),
        ("Opset", f"{opsets}, IR version {graph.ir_version}, exporter: {graph.exporter or 'none'}"),
        ("Made by", ", ".join(f"{package} {version}" for package, version in found.versions.items())),
    )
