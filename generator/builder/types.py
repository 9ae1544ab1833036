"""What a build returns for each model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from generator.graph.types import GraphFacts
    from generator.networks.types import Network
    from generator.repository.s3.url import S3Url
    from generator.types import Signature, Weights
    from generator.verify.certificate import Certificate


NEW = "it is not there"  # why a model is made for the first time


@dataclass(frozen=True)
class BuiltModel:
    """A model that is in the repository, for the summary; `size_bytes` is of its graph."""

    network: Network
    weights: Weights
    folder: Path | S3Url
    size_bytes: int
    variants: tuple[str, ...]
    signature: Signature
    graph: GraphFacts
    certificate: Certificate
