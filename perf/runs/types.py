"""The contents of a run's file, with units in the field names, and the metrics. cattrs reads the types at run time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from generator.server.gpus import Gpu
from generator.types import Precision

Profile = Literal["production", "published"]
Status = Literal["ok", "unstable", "failed"]
Protocol = Literal["grpc", "http"]
SharedMemory = Literal["none", "system", "cuda"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
MEASUREMENTS = ("quick", "standard")


@dataclass(frozen=True)
class PerfPoint:
    """A model in a precision at a batch size and a concurrency, which is measured as one."""

    model: str
    precision: Precision
    batch_size: int
    concurrency: int = 1

    def __str__(self) -> str:
        """Return `dpn92 fp32 batch 8`."""
        more = f" concurrency {self.concurrency}" if self.concurrency != 1 else ""
        return f"{self.model} {self.precision} batch {self.batch_size}{more}"


@dataclass(frozen=True)
class Plan:
    """How long a point is measured.

    A round is one perf_analyzer process per point: `warmup_requests` that are not counted, then `requests`. Rounds
    continue until the three fastest agree within `agreement` in the client's mean latency and the first and the last
    are `least_span_s` apart, since rounds in one slow spell agree too. There are at least `least_rounds`, and at most
    `most_rounds` unless the span needs more.
    """

    name: str
    warmup_requests: int
    requests: int
    least_rounds: int
    most_rounds: int
    agreement: float
    least_span_s: float

    def __str__(self) -> str:
        """Return the plan in words, for a table."""
        return (
            f"rounds of {self.requests:,} requests after {self.warmup_requests} to warm up, "
            f"{self.least_rounds} to {self.most_rounds} of them, "
            f"until the three fastest agree within {self.agreement:.0%}, over {self.least_span_s:.0f} s at least"
        )


# `published` with `standard` measures as long as the published tables: 2,100 requests, of which the first 100 are not
# counted.
# fmt: off
PLANS: dict[tuple[Profile, str], Plan] = {
    #                                    warm-up requests rounds agreement span
    ("production", "quick"):    Plan("quick",    1,    10, 3,  8, 0.05, 15),
    ("production", "standard"): Plan("standard", 10,   50, 3, 10, 0.05, 30),
    ("published",  "quick"):    Plan("quick",    5,    50, 3,  8, 0.05, 15),
    ("published",  "standard"): Plan("standard", 100, 2000, 3, 10, 0.05, 30),
}
# fmt: on


@dataclass(frozen=True)
class Request:
    """The request for a run. If `exact`, every model must take every batch size; else the others are left out.

    `url` is the gRPC address of a server, None for the one at localhost:8001 or a new one.
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
    """The row of perf_analyzer's CSV (src/report_writer.cc); a missing optional column is None.

    Latencies are of one request. Hits and misses are of the response cache. `percentile_us` is the column of
    `--percentile`; `other` has the GPU's.
    """

    inferences_per_second: float = field(metadata={"column": "Inferences/Second"})
    client_send_us: int = field(metadata={"column": "Client Send"})
    network_us: int = field(metadata={"column": "Network+Server Send/Recv"})
    queue_us: int = field(metadata={"column": "Server Queue"})
    compute_input_us: int = field(metadata={"column": "Server Compute Input"})
    compute_infer_us: int = field(metadata={"column": "Server Compute Infer"})
    compute_output_us: int = field(metadata={"column": "Server Compute Output"})
    client_recv_us: int = field(metadata={"column": "Client Recv"})
    p50_us: int = field(metadata={"column": "p50 latency"})
    p90_us: int = field(metadata={"column": "p90 latency"})
    p95_us: int = field(metadata={"column": "p95 latency"})
    p99_us: int = field(metadata={"column": "p99 latency"})
    concurrency: int | None = field(default=None, metadata={"column": "Concurrency"})
    request_rate: float | None = field(default=None, metadata={"column": "Request Rate"})
    responses_per_second: float | None = field(default=None, metadata={"column": "Response Throughput"})
    cache_hit_us: int | None = field(default=None, metadata={"column": "Server Cache Hit"})
    cache_miss_us: int | None = field(default=None, metadata={"column": "Server Cache Miss"})
    avg_us: int | None = field(default=None, metadata={"column": "Avg latency"})
    request_response_us: int | None = field(default=None, metadata={"column": "request/response"})
    response_wait_us: int | None = field(default=None, metadata={"column": "response wait"})
    percentile_us: dict[str, int] | None = None
    other: dict[str, str] | None = None

    @property
    def server_us(self) -> int:
        """Sum of queue, compute input, infer and output."""
        return self.queue_us + self.compute_input_us + self.compute_infer_us + self.compute_output_us

    @property
    def latency_us(self) -> int:
        """Mean latency of the client: as reported, else the sum of its parts."""
        if self.avg_us is not None:
            return self.avg_us
        return self.client_send_us + self.network_us + self.server_us + self.client_recv_us


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its label, and its value per request in a report."""

    name: str
    label: str
    value_us: Callable[[Report], int]


METRICS = (
    Metric("compute", "Server compute (what the published tables timed)", lambda row: row.compute_infer_us),
    Metric("server", "Server total: queue, compute input, infer and output", lambda row: row.server_us),
    Metric("p50", "Client p50", lambda row: row.p50_us),
    Metric("p99", "Client p99", lambda row: row.p99_us),
)
COMPUTE = METRICS[0]

# The parts of a request in order; their sum is the client's mean latency.
PARTS = (
    Metric("client_send", "Client send", lambda row: row.client_send_us),
    Metric("network", "Network", lambda row: row.network_us),
    Metric("queue", "Queue", lambda row: row.queue_us),
    Metric("compute_input", "Input", lambda row: row.compute_input_us),
    Metric("compute_infer", "Compute", lambda row: row.compute_infer_us),
    Metric("compute_output", "Output", lambda row: row.compute_output_us),
    Metric("client_recv", "Client receive", lambda row: row.client_recv_us),
)
LATENCY = Metric("latency", "Client mean", lambda row: row.latency_us)


@dataclass(frozen=True)
class Bare:
    """A round of the baseline: the model in ONNX Runtime alone, run as often as perf_analyzer sent requests."""

    threads: int
    avg_us: int
    p50_us: int


@dataclass(frozen=True)
class Device:
    """The device of a server. `stated`: the server is on another host, and the GPU is what the user named."""

    name: str
    label: str
    stated: bool = False
    gpu: Gpu | None = None
    cpu_model: str | None = None
    cores: int | None = None
    governor: str | None = None


@dataclass(frozen=True)
class Versions:
    """The versions of the programs."""

    tritongen: str
    perf_analyzer: str
    triton: str
    python: str
    onnxruntime: str | None = None


@dataclass(frozen=True)
class Origin:
    """The origin of a measurement: the device, the programs, and the model's bytes.

    `model_digest` is BLAKE3 of the version's files, None if the server was running. `config_sha256` is of the config as
    the server completed it.
    """

    device: Device
    versions: Versions
    server: str
    config_sha256: str
    model_digest: str | None = None
    image_tag: str | None = None


@dataclass(frozen=True)
class Repeat:
    """A round of a point: a report if it is `ok`, else a reason. `at` is the time in UTC when it began."""

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
    """A measured model, for a table."""

    name: str
    weights: str
    crop_px: int | None = None
    resize_short_px: int | None = None


@dataclass(frozen=True)
class Run:
    """The first line of a run: what is measured, how, and on what."""

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
    """The time that a call spent on a run; a resumed run has several sessions."""

    ended: str
    wall_s: float
    servers_s: float
    analyzer_s: float
    bare_s: float
