"""A server as it is reached, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from generator.spec import Precision, TensorSpec


@dataclass(frozen=True)
class Ports:
    """The three ports of a Triton on this host, and the address that they are reached at: loopback."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002
    host: str = "127.0.0.1"

    @property
    def http_url(self) -> str:
        """`host:port` of the HTTP service."""
        return self.url(self.http)

    @property
    def grpc_url(self) -> str:
        """`host:port` of the gRPC service."""
        return self.url(self.grpc)

    @property
    def metrics_url(self) -> str:
        """`host:port` of the metrics."""
        return self.url(self.metrics)

    def url(self, port: int) -> str:
        """`host:port`; an IPv6 address in brackets."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


@dataclass(frozen=True)
class Gpu:
    """What nvidia-smi says of one; `[N/A]` where it does not know."""

    name: str
    uuid: str
    driver: str
    sm_clock_mhz: str
    memory_clock_mhz: str
    power_limit_w: str
    temperature_c: str


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
