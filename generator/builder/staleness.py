"""Compare a published model with its job: what has to be done to bring it up to date, and the reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from generator.builder import provenance as provenance_file
from generator.builder.provenance import Provenance
from generator.config.render import CONFIG_TEMPLATE, LABELS, config_text, default_config, target_configs
from generator.config.types import BuildOptions, Described
from generator.errors import TritongenError, printable
from generator.graph.types import BUILD_METHOD
from generator.imagenet import read_labels
from generator.networks.types import Network
from generator.repository import layout
from generator.repository.folder import Published
from generator.system.files import digest_of, digests, sha256_of

NEW = "it is not there"  # the reason to build a model for the first time
CHANGED, OTHER = "was changed", "would be another"

# The graph and all files are built, only the other files are rendered, or nothing is written.
Outcome = Literal["published", "rendered", "up to date"]


@dataclass(frozen=True)
class Job:
    """A model to build; `weights` is a seed or a file, and applies to the built-in networks only."""

    network: Network
    options: BuildOptions
    weights: int | Path
    labels: Path | None
    template_dir: Path | None


@dataclass(frozen=True)
class Action:
    """The action that brings a model up to date; `texts` are the files to write around a kept graph."""

    outcome: Outcome
    why: str
    provenance: Provenance | None = None
    texts: dict[str, bytes] = field(default_factory=dict)


def required_action(job: Job, model: Published) -> Action:
    """Compare a published model with its job.

    The graph is built again if an input of it differs from the provenance, or a file from its digest. Otherwise the
    texts are rendered, which takes milliseconds, and written if one differs.
    """
    if not model.names():
        return Action("published", NEW)
    try:
        provenance = provenance_file.read(model)
    except FileNotFoundError:
        return Action("published", f"its {layout.PROVENANCE_FILE} is not there")
    except (OSError, ValueError):
        return Action("published", f"its {layout.PROVENANCE_FILE} is not one that this tritongen writes")
    damaged_graph = (f"{name} {how}" for name, how in damages(model, provenance.graph_digests))
    if why := changed_input(job, provenance) or next(damaged_graph, None):
        return Action("published", why)
    try:
        rendered, texts = with_texts(job, provenance)
    except TritongenError as error:
        return Action("published", str(error))
    # A text differs because it was edited or because an option changed; the digest does not tell which.
    reasons = [f"{name} {OTHER if how == CHANGED else how}" for name, how in damages(model, digests(texts))][:1]
    if others := [name for name in model.names() if name not in rendered.blake3 and name not in texts]:
        reasons.append(f"{', '.join(map(printable, others))} would go")
    return Action("rendered", "; ".join(reasons), rendered, texts) if reasons else Action("up to date", "", provenance)


def changed_input(job: Job, provenance: Provenance) -> str | None:
    """Name the first input of a graph that differs from its provenance."""
    weights = provenance.weights
    definition = job.network.definition
    if isinstance(job.weights, int):
        same_weights = (weights.source, weights.seed) == ("random", job.weights)
    else:
        same_weights = (weights.file, weights.sha256) == (job.weights.name, sha256_of(job.weights))
    if not definition.own_weights and not same_weights:
        return "other weights"
    if not definition.reproducible:
        return "what its function returns is not known before it is called"
    if provenance.graph.method != BUILD_METHOD:
        return "another build method"
    if network_record(job) != provenance.network:
        return "another network"
    for name in ("tolerance", "rewrites"):
        if getattr(job.options, name) != getattr(provenance.options, name):
            return f"another --{name}"
    now = provenance_file.versions()
    return next((f"another version of {name}" for name in now if now[name] != provenance.versions.get(name)), None)


def network_record(job: Job) -> dict[str, Any]:
    """Return the definition of a network, with the digests of an ONNX file and its external data."""
    files = job.network.definition.files()
    return job.network.record() | ({"blake3": digests(files)} if files else {})


def damages(model: Published, expected: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each file that differs from its digest, and how."""
    for name, digest in expected.items():
        try:
            if model.digest(name) != digest:
                yield name, CHANGED
        except FileNotFoundError:
            yield name, "is not there"
        except OSError:
            yield name, "cannot be read"


def with_texts(job: Job, provenance: Provenance) -> tuple[Provenance, dict[str, bytes]]:
    """Render the texts of a model; return its provenance with their digests, and the texts, provenance included."""
    options, graph = job.options, provenance.graph_digests
    labels = job.labels or job.network.definition.labels
    described = Described(
        job.network.name, provenance.signature, provenance.weights, provenance.preprocessing,
        labelled=labels is not None, digest="".join(graph.values()),
    )  # fmt: skip
    variants = {
        layout.CONFIG_FILE: default_config(described, options),
        **{f"configs/{name}": variant for name, variant in target_configs(described, options).items()},
    }
    texts = {path: config_text(variant, job.template_dir).encode() for path, variant in variants.items()}
    if labels:
        texts[LABELS] = read_labels(labels, provenance.signature.classes)
    provenance = replace(
        provenance,
        options=options,
        template=digest_of(job.template_dir / CONFIG_TEMPLATE) if job.template_dir else None,
        blake3=graph | digests(texts),
    )
    return provenance, texts | {layout.PROVENANCE_FILE: provenance_file.serialized(provenance)}
