"""The facts about each measured model: its certificate and provenance, if the repository still holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from generator.builder import provenance
from generator.builder.provenance import Provenance
from generator.repository.layout import PROVENANCE_FILE, VERSION
from generator.repository.model_files import ModelFolder
from generator.system.files import digest_of_digests, digest_of_folder
from generator.verify.certificate import Certificate
from perf.runs.compare import hashes
from perf.runs.store import Stored
from perf.runs.tables import Table, title

NOT_FOUND = "the model is not in the repository"
NOT_KNOWN = "it is not known which files the server served"
OTHER_FILES = "the files in the repository are not those that were measured"
UNREADABLE = f"{PROVENANCE_FILE} was not written by this version of tritongen"


@dataclass(frozen=True)
class Card:
    """One model: named facts, and its certificate or, in `why`, the reason that there is none."""

    name: str
    facts: tuple[tuple[str, str], ...]
    certificate: Table | None = None
    worst: str = "-"
    why: str = ""


def cards(stored: Stored, repository: Path) -> tuple[Card, ...]:
    """Return a card per model, in the order of the run."""
    result = []
    for model in stored.run.models:
        digest = hashes(stored).get(model.name)
        served = next((r.origin.config_sha256 for r in stored.repeats if r.origin and r.point.model == model.name), "-")
        facts = (
            ("Weights", model.weights),
            ("BLAKE3 of the version's files", digest or "-"),
            ("SHA-256 of the config as completed by the server", served),
        )
        record = read_provenance(model.name, digest, repository)
        if isinstance(record, str):
            result.append(Card(title(model.name), facts, why=record))
        else:
            worst = f"{record.certificate.worst.relative_error:.2g}"
            table = certificate_table(record.certificate)
            result.append(Card(title(model.name), facts + graph_facts(record), table, worst))
    return tuple(result)


def read_provenance(name: str, digest: str | None, repository: Path) -> Provenance | str:
    """Return a model's provenance, or why there is none for the files with the digest."""
    if digest is None:
        return NOT_KNOWN
    if Path(name).name != name:  # a name from the file of a run must not lead out of the repository
        return NOT_FOUND
    try:
        record = provenance.read(ModelFolder(repository / name))
        files = {path.removeprefix(f"{VERSION}/"): value for path, value in record.graph_digests.items()}
        if digest == digest_of_folder(repository / name / VERSION) == digest_of_digests(files):
            return record
    except OSError:
        return NOT_FOUND
    except ValueError:
        return UNREADABLE
    return OTHER_FILES


def certificate_table(certificate: Certificate) -> Table:
    """Return the comparisons made before the model was published."""
    batches = [(str(batch.batch_size), batch) for batch in certificate.batches]
    others = (
        (certificate.fp64, f"{certificate.reference} in fp32 against itself in fp64"),
        (certificate.fp16, "an FP16 cast of the graph, on the CPU"),
    )
    rows = [
        (
            label,
            f"{error.relative_error:.2g}",
            f"{error.relative_rms:.2g}",
            *("-" if count is None else str(count) for count in (error.top1_agree, error.top5_agree)),
        )
        for label, error in [*batches, *((f"{error.batch_size}: {what}", error) for error, what in others if error)]
    ]
    heads = ("Batch", "Largest error", "RMS error", "Same top-1", "Same top-5")
    under = (
        f"ONNX Runtime on the CPU against {certificate.reference}, fp32; {certificate.inputs}. Errors are relative to "
        f"the largest logit. A batch passes within {certificate.tolerance:g}; the other rows have no limit."
    )
    return Table("Certificate", heads, tuple(rows), under)


def graph_facts(record: Provenance) -> tuple[tuple[str, str], ...]:
    """Return the facts about the graph and the tools that made it."""
    graph = record.graph
    opsets = ", ".join(f"{domain} {version}" for domain, version in graph.opset.items())
    rewrites = ", ".join(f"{name} {count}" for name, count in graph.rewrites.items()) or "none"
    return (
        ("Graph", f"{graph.nodes_exported} nodes exported, {graph.nodes} served; rewrites: {rewrites}"),
        ("Opset", f"{opsets}, IR version {graph.ir_version}, exporter: {graph.exporter or 'none'}"),
        ("Made by", ", ".join(f"{package} {version}" for package, version in record.versions.items())),
    )
