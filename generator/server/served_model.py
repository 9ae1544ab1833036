"""A server as it is reached, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from generator.types import Precision, TensorSpec


@dataclass(frozen=True)
class ServedModel:
    """A model as the server says it runs it.

    `static_batch` is the batch of a model that takes no other and waits for none; `config_sha256` is of the config as
    the server completed it, in hex.
    """

    name: str
    version: str
    max_batch_size: int
    device: Literal["cpu", "gpu"]
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    instances: int = 1
    static_batch: int | None = None
    config_sha256: str = ""
