"""What has to be done for a model to be up to date, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from generator.builder import provenance
from generator.builder.types import NEW
from generator.config.render import CONFIG_TEMPLATE, LABELS, config_text, default_config, target_configs
from generator.config.types import Described
from generator.errors import TritongenError, printable
from generator.imagenet.labels import read_labels
from generator.repository import layout
from generator.system.files import digest_of, digests, sha256_of
from generator.types import RANDOM_METHOD

if TYPE_CHECKING:
    from pathlib import Path

    from generator.builder.provenance import Provenance
    from generator.config.types import BuildOptions
    from generator.networks.types import Network
    from generator.repository.model_files import Published

CHANGED, OTHER = "was changed", "would be another"

# Its graph anew, its texts alone, or as it is: what it needs, and what has become of it.
Outcome = Literal["published", "rendered", "up to date"]


@dataclass(frozen=True)
class Job:
    """One model that is to be in the repository; `weights` are those of a seed or of a file, where it is of the ten."""

    network: Network
    options: BuildOptions
    weights: int | Path
    labels: Path | None
    template_dir: Path | None


@dataclass(frozen=True)
class Todo:
    """What a model needs; `found` and `texts` are what is kept of it and what is written."""

    outcome: Outcome
    why: str
    found: Provenance | None = None
    texts: dict[str, bytes] = field(default_factory=dict)


def to_do(job: Job, model: Published) -> Todo:
    """Hold a model as it is against what it would be made of.

    A graph is made anew where anything that it depends on differs from what its provenance says, or its files from
    their digests; else its texts are rendered, which takes milliseconds, and written where one is another.
    """
    if not model.names():
        return Todo("published", NEW)
    try:
        found = provenance.read(model)
    except FileNotFoundError:
        return Todo("published", f"its {layout.PROVENANCE_FILE} is not there")
    except (OSError, ValueError):
        return Todo("published", f"its {layout.PROVENANCE_FILE} is not one that this tritongen writes")
    if why := differs(job, found) or damaged(model, found):
        return Todo("published", why)
    return texts_to_do(job, model, found)


def texts_to_do(job: Job, model: Published, found: Provenance) -> Todo:
    """The same of a model whose graph stays."""
    try:
        rendered, texts = with_texts(job, found)
    except TritongenError as error:
        return Todo("published", str(error))
    states = {name: state(model, name, digest) for name, digest in digests(texts).items()}
    # A text that differs was edited, or an option is another: which, is not known.
    reasons = [f"{name} {OTHER if what == CHANGED else what}" for name, what in states.items() if what][:1]
    if others := [name for name in model.names() if name not in rendered.blake3 and name not in texts]:
        reasons.append(f"{', '.join(map(printable, others))} would go")
    return Todo("rendered", "; ".join(reasons), rendered, texts) if reasons else Todo("up to date", "", found)


def differs(job: Job, found: Provenance) -> str | None:
    """What a graph depends on and is not as it was, in a word."""
    definition = job.network.definition
    if not definition.own_weights and not same_weights(job, found):
        return "other weights"
    if found.weights.random and found.weights.method != RANDOM_METHOD:
        return "another method of drawing random weights"
    if not definition.reproducible:
        return "what its function returns is not known before it is called"
    if defined(job) != found.network:
        return "another network"
    for name in ("tolerance", "rewrites"):
        if getattr(job.options, name) != getattr(found.options, name):
            return f"another --{name}"
    now = provenance.versions()
    return next((f"another version of {name}" for name in now if now[name] != found.versions.get(name)), None)


def same_weights(job: Job, found: Provenance) -> bool:
    """Whether the ten's are of the same seed, or of the same file."""
    if isinstance(job.weights, int):
        return (found.weights.source, found.weights.seed) == ("random", job.weights)
    return (found.weights.file, found.weights.sha256) == (job.weights.name, sha256_of(job.weights))


def defined(job: Job) -> dict[str, Any]:
    """What defines a network; of an ONNX file its bytes, and those of its external data."""
    files = job.network.definition.files()
    return job.network.record() | ({"blake3": digests(files)} if files else {})


def damaged(model: Published, found: Provenance) -> str | None:
    """A file of the graph that is not as it was published."""
    states = ((name, state(model, name, digest)) for name, digest in found.graph_digests.items())
    return next((f"{name} {what}" for name, what in states if what), None)


def state(model: Published, name: str, digest: str) -> str | None:
    """What has become of a file since it had that digest; None where it has it still."""
    try:
        return None if model.digest(name) == digest else CHANGED
    except FileNotFoundError:
        return "is not there"
    except OSError:
        return "cannot be read"


def with_texts(job: Job, found: Provenance) -> tuple[Provenance, dict[str, bytes]]:
    """A model's provenance with the digests of its texts, and the texts, provenance included."""
    options, graph = job.options, found.graph_digests
    labels = job.labels or job.network.definition.labels
    described = Described(
        job.network.name, found.signature, found.weights, found.preprocessing,
        labelled=labels is not None, digest="".join(graph.values()),
    )  # fmt: skip
    variants = {
        layout.CONFIG_FILE: default_config(described, options),
        **{f"configs/{name}": variant for name, variant in target_configs(described, options).items()},
    }
    texts = {path: config_text(variant, job.template_dir).encode() for path, variant in variants.items()}
    if labels:
        texts[LABELS] = read_labels(labels, found.signature.classes)
    made = replace(
        found,
        options=options,
        template=digest_of(job.template_dir / CONFIG_TEMPLATE) if job.template_dir else None,
        blake3=graph | digests(texts),
    )
    return made, texts | {layout.PROVENANCE_FILE: provenance.text(made)}
