"""The values that flow through a sweep: frozen, with units in the field names.

All of them but the paths are what a run's file holds, so their types are read at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from generator.server.gpus import Gpu  # noqa: TC001 (read at run time)
from generator.types import Precision  # noqa: TC001 (read at run time)

Profile = Literal["production", "published"]
Status = Literal["ok", "unstable", "failed"]
Protocol = Literal["grpc", "http"]
SharedMemory = Literal["none", "system", "cuda"]


@dataclass(frozen=True)
class PerfPoint:
    """What is measured as one: a model as one server serves it, asked in one way."""

    model: str
    precision: Precision
    batch_size: int
    concurrency: int = 1

    def __str__(self) -> str:
        """`dpn92 fp32 batch 8`."""
        more = f" concurrency {self.concurrency}" if self.concurrency != 1 else ""
        return f"{self.model} {self.precision} batch {self.batch_size}{more}"


@dataclass(frozen=True)
class Plan:
    """How long a point is measured.

    A round is one perf_analyzer process a point: `warmup_requests` that are not counted, then `requests`. Rounds go
    on until the three fastest agree within `agreement` in the client's mean latency, and the first and the last lie
    `least_span_s` apart: rounds that follow each other at once agree in a slow spell too. There are `least_rounds`,
    and no more than `most_rounds` unless the span asks for them.
    """

    name: str
    warmup_requests: int
    requests: int
    least_rounds: int
    most_rounds: int
    agreement: float
    least_span_s: float

    def __str__(self) -> str:
        """As a table says it."""
        return (
            f"rounds of {self.requests:,} requests after {self.warmup_requests} to warm up, "
            f"{self.least_rounds} to {self.most_rounds} of them, "
            f"until the three fastest agree within {self.agreement:.0%}, over {self.least_span_s:.0f} s at least"
        )


@dataclass(frozen=True)
class Request:
    """What a run was asked for. `exact`: every model must take every batch size, else those that it takes are measured.

    `url` is where the server's gRPC is, None for the one at localhost:8001 or one of our own.
    """

    device: str
    precisions: tuple[Precision, ...]
    models: tuple[str, ...] = ("all",)
    batch_sizes: tuple[int, ...] = (1, 4, 8)
    concurrencies: tuple[int, ...] = (1,)
    profile: Profile = "production"
    measurement: str = "standard"
    protocol: Protocol = "grpc"
    shared_memory: SharedMemory = "none"
    repository: str = "model_repository"
    url: str | None = None
    http_url: str | None = None
    image_tag: str | None = None
    baseline: bool = False
    exact: bool = True


@dataclass(frozen=True)
class Report:
    """The row of perf_analyzer's CSV. Latencies are of one request; of optional columns only those that are there.

    Hits and misses are of the response cache; `percentile_us` is what `--percentile` adds, `other` the GPU's columns.
    """

    inferences_per_second: float
    client_send_us: int
    network_us: int
    queue_us: int
    compute_input_us: int
    compute_infer_us: int
    compute_output_us: int
    client_recv_us: int
    p50_us: int
    p90_us: int
    p95_us: int
    p99_us: int
    concurrency: int | None = None
    request_rate: float | None = None
    responses_per_second: float | None = None
    cache_hit_us: int | None = None
    cache_miss_us: int | None = None
    avg_us: int | None = None
    request_response_us: int | None = None
    response_wait_us: int | None = None
    percentile_us: dict[str, int] | None = None
    other: dict[str, str] | None = None

    @property
    def server_us(self) -> int:
        """Queue, compute input, infer and output."""
        return self.queue_us + self.compute_input_us + self.compute_infer_us + self.compute_output_us

    @property
    def latency_us(self) -> int:
        """The client's mean: as told, else the sum of its parts."""
        if self.avg_us is not None:
            return self.avg_us
        return self.client_send_us + self.network_us + self.server_us + self.client_recv_us


@dataclass(frozen=True)
class Bare:
    """The same model in this process, in ONNX Runtime alone: as many runs as perf_analyzer sent requests."""

    threads: int
    avg_us: int
    p50_us: int


@dataclass(frozen=True)
class Device:
    """What a server runs on. `stated`: on another host, so that the user's word for the GPU was taken."""

    name: str
    label: str
    stated: bool = False
    gpu: Gpu | None = None
    cpu_model: str | None = None
    cores: int | None = None
    governor: str | None = None


@dataclass(frozen=True)
class Versions:
    """What measured and what was measured."""

    tritongen: str
    perf_analyzer: str
    triton: str
    python: str
    onnxruntime: str | None = None


@dataclass(frozen=True)
class Origin:
    """What made a measurement: where, by what, of which bytes.

    `model_digest` is BLAKE3 of the version's files, None where the server's are not at hand; `config_sha256` of the
    config as the server completed it.
    """

    device: Device
    versions: Versions
    server: str
    config_sha256: str
    model_digest: str | None = None
    image_tag: str | None = None


@dataclass(frozen=True)
class Repeat:
    """One perf_analyzer process: a figure where it is `ok`, a reason where it is not. `at` is UTC, when it began."""

    point: PerfPoint
    number: int
    status: Status
    at: str
    seconds: float
    command: tuple[str, ...]
    report: Report | None = None
    reason: str = ""
    bare: Bare | None = None
    origin: Origin | None = None


@dataclass(frozen=True)
class Model:
    """A measured model, as a table shows it."""

    name: str
    weights: str
    crop_px: int | None = None
    resize_short_px: int | None = None


@dataclass(frozen=True)
class Run:
    """A run's first line: what it is to measure, and on what."""

    id: str
    began: str
    request: Request
    plan: Plan
    points: tuple[PerfPoint, ...]
    models: tuple[Model, ...]
    device: Device
    server: str
    analyzer: str


@dataclass(frozen=True)
class Session:
    """How a sitting of a run spent its time, in seconds; a run that was killed and resumed has several."""

    ended: str
    wall_s: float
    servers_s: float
    analyzer_s: float
    bare_s: float
