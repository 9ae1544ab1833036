"""Values of a build: a job, a network prepared for publishing, and the result for each model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generator.config.types import BuildOptions
    from generator.graph.types import GraphFacts, Simplified
    from generator.networks.types import Network
    from generator.repository.s3.url import S3Url
    from generator.types import Preprocessing, Signature, Weights
    from generator.verify.certificate import Certificate
    from generator.verify.references import Reference


NEW = "it is not there"  # the reason to build a model for the first time


@dataclass(frozen=True)
class Job:
    """A model to build; `weights` is a seed or a file, and applies to the built-in networks only."""

    network: Network
    options: BuildOptions
    weights: int | Path
    labels: Path | None
    template_dir: Path | None


@dataclass(frozen=True)
class Prepared:
    """A network as a simplified graph, with the reference to verify it against."""

    exporter: str
    simplified: Simplified
    signature: Signature
    reference: Reference
    weights: Weights
    preprocessing: Preprocessing | None


@dataclass(frozen=True)
class BuiltModel:
    """A model in the repository, for the summary; `size_bytes` is the size of its graph."""

    network: Network
    weights: Weights
    folder: Path | S3Url
    size_bytes: int
    variants: tuple[str, ...]
    signature: Signature
    graph: GraphFacts
    certificate: Certificate
