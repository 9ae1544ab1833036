"""A running Triton: its models, their device and precision, its GPUs."""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import tritonclient.grpc as triton
from tritonclient.grpc.model_config_pb2 import DataType

from generator.config.tensorrt_parameters import PROFILE_KEYS
from generator.errors import ModelNotServed, ServerUnreachable
from generator.server.lifecycle import http_answer
from generator.server.served_configs import tensorrt_parameters
from generator.types import Precision, TensorSpec

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ServedModel:
    """A model as the server runs it.

    `static_batch` is the batch size of a model that takes no other size and does not wait for other requests.
    `config_sha256` is the SHA-256, in hex, of the config as the server completed it.
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


class TritonClient:
    """The Triton at `host:port`, with one gRPC connection for all questions.

    A question raises ServerUnreachable if the server does not answer it.
    """

    def __init__(self, url: str) -> None:
        """Take the address; the first question connects."""
        self.url = url
        self.grpc = triton.InferenceServerClient(url)

    def __enter__(self) -> Self:
        """Use the connection until the end of the context."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connection."""
        self.grpc.close()

    def answers(self) -> bool:
        """Return True if a live Triton answers."""
        try:
            return bool(self.grpc.is_server_live(client_timeout=TIMEOUT_S))
        except triton.InferenceServerException:
            return False

    def ready_models(self) -> tuple[str, ...]:
        """Return the names of the models that are READY, sorted."""
        index = self.ask(self.grpc.get_model_repository_index)
        return tuple(sorted({entry.name for entry in index.models if entry.state == "READY"}))

    def served_model(self, name: str) -> ServedModel:
        """Return how the server runs a model.

        Raises:
            ModelNotServed: the server has no such model ready.
        """
        try:
            config = self.grpc.get_model_config(name, client_timeout=TIMEOUT_S).config
            metadata = self.grpc.get_model_metadata(name, client_timeout=TIMEOUT_S)
        except triton.InferenceServerException as error:
            hint = f"ready models: {', '.join(self.ready_models()) or 'none'}"
            raise ModelNotServed(self.url, name, hint) from error
        # Core has resolved KIND_AUTO: 1 is KIND_GPU (model_config.proto).
        on_gpu = any(group.kind == 1 for group in config.instance_group)
        fp16 = on_gpu and (tensorrt_parameters(config) or {}).get("precision_mode") == "FP16"
        return ServedModel(
            name=name,
            version=max(metadata.versions, key=int),
            max_batch_size=config.max_batch_size,
            device="gpu" if on_gpu else "cpu",
            precision="fp16" if fp16 else "fp32",
            inputs=tuple(map(tensor, config.input)),
            outputs=tuple(map(tensor, config.output)),
            parameters={key: value.string_value for key, value in config.parameters.items()},
            instances=sum(group.count for group in config.instance_group) or 1,
            static_batch=static_batch(config, on_gpu=on_gpu),
            config_sha256=hashlib.sha256(config.SerializeToString(deterministic=True)).hexdigest(),
        )

    def server_version(self) -> str:
        """Return the version of Triton, such as 2.51.0."""
        return str(self.ask(self.grpc.get_server_metadata).version)

    def requests_answered(self, name: str) -> int:
        """Return how many requests of a model the server has answered, with a result or an error."""
        counts = [version.inference_stats for version in self.ask(self.grpc.get_inference_statistics, name).model_stats]
        return sum(count.success.count + count.fail.count for count in counts)

    def ask(self, question: Callable[..., Any], *arguments: str) -> Any:  # noqa: ANN401 (a protobuf message)
        """Return the answer to a question, or raise ServerUnreachable."""
        try:
            return question(*arguments, client_timeout=TIMEOUT_S)
        except triton.InferenceServerException as error:
            raise ServerUnreachable(self.url, error.message()) from error


def tensor(entry: Any) -> TensorSpec:  # noqa: ANN401 (a protobuf message)
    """Return an input or output of a config."""
    return TensorSpec(entry.name, DataType.Name(entry.data_type), tuple(entry.dims))


def static_batch(config: Any, *, on_gpu: bool) -> int | None:  # noqa: ANN401 (a protobuf message)
    """Return the only batch size of a model: it has no batching, and its TensorRT profile is for one batch size."""
    if config.HasField("dynamic_batching") or config.HasField("sequence_batching"):
        return None
    tensorrt = tensorrt_parameters(config) if on_gpu else None
    if tensorrt is not None and len({tensorrt.get(key) for key in PROFILE_KEYS}) != 1:
        return None
    return max(1, int(config.max_batch_size))


def http_answers(url: str) -> bool:
    """Return True if Triton's HTTP service answers at `host:port`."""
    with suppress(ValueError):
        return "version" in json.loads(http_answer(f"{url}/v2") or b"")
    return False


def gpu_uuids(metrics_url: str) -> tuple[str, ...]:
    """Return the UUIDs of the GPUs in a server's metrics, none if the metrics do not answer."""
    text = (http_answer(f"{metrics_url}/metrics") or b"").decode(errors="replace")
    return tuple(dict.fromkeys(re.findall(r'gpu_uuid="([^"]+)"', text)))
